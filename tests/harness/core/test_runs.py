"""Run folders: a killed writer loses at most its torn line, a dead owner's lock is taken over, a live one's is not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core import files, locks, runs
from harness.core.errors import RunError


def test_folder_name_is_the_design() -> None:
    folder = runs.run_folder(
        Path("runs"), model="Qwen/Qwen2.5-7B", method="rlfr", train_task="math-train", seed=3, key="0123456789"
    )
    assert folder == Path("runs/Qwen--Qwen2.5-7B/rlfr/math-train/s3-01234567")


@pytest.mark.parametrize("torn", [b'{"a": 3', b'{"a": 3, "b": "' + b"x" * 200_000, b""])
def test_reopening_drops_only_a_torn_last_line(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + torn)
    assert [r["a"] for r in files.read_log(path)] == [1, 2]
    with files.JsonlWriter(path) as out:
        out.append({"a": 4})
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 4}\n'


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a"')
    with files.JsonlWriter(path):
        pass
    assert path.read_bytes() == b""


def test_a_broken_line_inside_is_an_error_naming_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(RunError, match="line 2"):
        list(files.read_log(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_never_enters_a_file(tmp_path: Path, value: float) -> None:
    with pytest.raises(RunError, match="not finite"):
        files.write_json(tmp_path / "results.json", {"x": [value]})
    assert not list(tmp_path.iterdir())
    with files.JsonlWriter(tmp_path / "log.jsonl") as out, pytest.raises(RunError, match="not finite"):
        out.append({"x": value})
    assert (tmp_path / "log.jsonl").read_bytes() == b""


def test_text_that_is_no_unicode_is_still_logged(tmp_path: Path) -> None:
    with files.JsonlWriter(tmp_path / "log.jsonl") as out:
        out.append({"x": "half a pair \ud800"})
    assert [r["x"] for r in files.read_log(tmp_path / "log.jsonl")] == ["half a pair ?"]


def test_lines_are_on_disk_before_close(tmp_path: Path) -> None:
    writer = files.JsonlWriter(tmp_path / "log.jsonl")
    writer.append({"a": 1})
    assert (tmp_path / "log.jsonl").read_text() == '{"a": 1}\n'
    writer.close()


def test_manifest_lists_content(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    assert runs.finished(tmp_path) is None
    runs.write_manifest(tmp_path, {"task": "toy"}, ("results.json",))
    manifest = runs.finished(tmp_path)
    assert manifest is not None
    assert manifest["files"]["results.json"] == {
        "bytes": 2,
        "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    }


def test_an_unfinished_evaluation_is_refused_and_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "m" / "base" / "t" / "s0-1" / "eval" / "toy-1"
    files.write_json(folder / "results.json", {"schema": 1})
    assert runs.evaluations(tmp_path) == []
    with pytest.raises(RunError, match="not a finished evaluation"):
        runs.read_evaluation(folder)
    runs.write_manifest(folder, {})
    assert [e.folder for e in runs.evaluations(tmp_path)] == [folder]
    files.write_json(folder / "results.json", {"schema": 99})
    with pytest.raises(RunError, match="schema 99"):
        runs.read_evaluation(folder)


def test_a_second_process_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    try:
        with (
            pytest.raises(RunError, match=f"in use by process {holder.pid} on .*re-running resumes"),
            locks.Lock(tmp_path),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locks.Lock(tmp_path):  # the owner was killed: taken over without asking
        assert json.loads((tmp_path / locks.LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / locks.LOCK).exists()


def _holder(folder: Path) -> subprocess.Popen[str]:
    code = (
        "import sys, time; from pathlib import Path; from harness.core.locks import Lock\n"
        "with Lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_same_process_cannot_lock_twice(tmp_path: Path) -> None:
    with locks.Lock(tmp_path):
        with pytest.raises(RunError), locks.Lock(tmp_path):
            pass
        assert (tmp_path / locks.LOCK).exists()
    with locks.Lock(tmp_path):
        pass


def test_a_reused_pid_is_not_the_owner(tmp_path: Path) -> None:
    owner = {"pid": 1, "host": socket.gethostname(), "time": "then", "started": 987_654_321}
    (tmp_path / locks.LOCK).write_text(json.dumps(owner))
    with locks.Lock(tmp_path):
        pass


def test_a_lock_of_another_host_is_left_to_the_user(tmp_path: Path) -> None:
    (tmp_path / locks.LOCK).write_text(json.dumps({"pid": 1, "host": "elsewhere", "time": "then", "started": 1}))
    with (
        pytest.raises(RunError, match=r"locked by process 1 on elsewhere since then: .*delete .*\.lock"),
        locks.Lock(tmp_path),
    ):
        pass
    assert (tmp_path / locks.LOCK).exists()


def test_a_torn_lock_file_does_not_block(tmp_path: Path) -> None:
    (tmp_path / locks.LOCK).write_text('{"pid": 1')
    with locks.Lock(tmp_path):
        pass
