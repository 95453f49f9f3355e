"""Workers: the same verdict from everywhere, a deadline that holds, losses that are no verdicts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.core.errors import VerifierError
from harness.core.records import Answer, AnswerType, Side, Status
from rewards.verifier import Reason
from rewards.verifier.jobs import Job
from rewards.verifier.pool import Verifier

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = """
import os, sys, time

def official(answer, response, extracted=None):
    if response == "torch":
        return "torch" not in sys.modules, None, "match"
    if response == "sleep":
        time.sleep(60)
    if response == "die":
        os.kill(os.getpid(), 9)
    if response == "raise":
        raise KeyError("x")
    if response == "memory":
        return bool(bytearray(64 << 30)), None, "match"
    if response == "print":
        print("noise " * 10)
    if response == "skip":
        return None, None, "needs_judge"
    return response == answer.golds[0], response, "match"
"""


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    file = tmp_path_factory.mktemp("plug") / "odd.py"
    file.write_text(PLUGIN)
    with Verifier(workers=1, deadline=1.0, plugins=[str(file)]) as found:
        yield found


def job(gold: str, response: str, kind: AnswerType = AnswerType.EXPRESSION, **facts) -> Job:
    return Job(answer=Answer(type=kind, golds=(gold,)), response=response, **facts)


def ruled(response: str) -> Job:
    return job("gold", response, AnswerType.TEXT, protocols=("official",), rule="rlfr_plugin_odd:official")


KNOWN = [
    (job(r"\frac{14}{3}", r"\boxed{14/3}"), True),
    (job("2k+2", r"\boxed{2(k+1)}"), True),
    (job("4", r"\boxed{4√(2)}"), False),
    (job("204", r"\boxed{204.0}", AnswerType.INTEGER), True),
    (job("204", "204", AnswerType.INTEGER), False),
]


def right(found) -> list[bool]:
    return [f["strict"].correct for f in found]


def test_same_verdicts_from_main_thread_threads_and_asyncio(verifier):
    jobs, wanted = [j for j, _ in KNOWN], [w for _, w in KNOWN]
    assert right(verifier.verify(jobs)) == wanted
    with ThreadPoolExecutor(3) as threads:
        assert [right(r) for r in threads.map(lambda _: verifier.verify(jobs), range(3))] == [wanted] * 3

    async def gather():
        return await asyncio.gather(*(asyncio.wrap_future(verifier.submit(j)) for j in jobs))

    assert right(asyncio.run(gather())) == wanted


def test_workers_never_import_torch(verifier):
    assert verifier.verify([ruled("torch")])[0]["official"].correct


def test_deadline_kills_one_item_and_not_its_neighbours(verifier):
    verifier.verify([ruled("gold")])
    start = time.monotonic()
    found = [f["official"] for f in verifier.verify([ruled(r) for r in ("gold", "sleep", "gold", "other")])]
    assert time.monotonic() - start < 8
    assert [f.status for f in found] == [Status.CORRECT, Status.UNGRADED, Status.CORRECT, Status.INCORRECT]
    assert (found[1].reason, found[1].side, found[1].seconds) == (Reason.DEADLINE, Side.ANSWER, 1.0)


def test_waiting_in_the_queue_does_not_count(verifier):
    # together several times the deadline, each well below it
    slow = [job("2k+2", rf"\boxed{{2(k+1)+{n}-{n}}}") for n in range(300)]
    assert {f["strict"].status for f in verifier.verify(slow)} == {Status.CORRECT}


def test_a_lost_worker_is_an_instrument_failure(verifier):
    found = [f["official"] for f in verifier.verify([ruled(r) for r in ("gold", "die", "gold")])]
    assert [f.status for f in found] == [Status.CORRECT, Status.UNGRADED, Status.CORRECT]
    assert (found[1].reason, found[1].side) == (Reason.WORKER_LOST, Side.INSTRUMENT)


def test_a_worker_killed_from_outside_is_replaced_and_its_job_repeated(verifier):
    verifier.verify([ruled("gold")])
    process = verifier._lanes[0].process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert verifier.verify([ruled("gold")])[0]["official"].correct


@pytest.mark.parametrize(
    ("response", "reason", "side"),
    [
        ("raise", Reason.RULE_FAILED, Side.INSTRUMENT),
        ("memory", Reason.TOO_LARGE, Side.ANSWER),
        ("skip", "needs_judge", Side.INSTRUMENT),
    ],
)
def test_what_a_rule_may_do(verifier, response, reason, side):
    found = verifier.verify([ruled(response)])[0]["official"]
    assert (found.status, found.reason, found.side) == (Status.UNGRADED, reason, side)


def test_output_of_a_rule_does_not_disturb_the_pipe(verifier):
    assert [f["official"].status for f in verifier.verify([ruled("print"), ruled("gold")])] == [
        Status.INCORRECT,
        Status.CORRECT,
    ]


def test_unknown_rules_are_not_graded(verifier):
    found = verifier.verify([job("1", "1", protocols=("official",), rule="tasks.nosuch:official")])[0]["official"]
    assert (found.status, found.reason) == (Status.UNGRADED, Reason.RULE_FAILED)


def test_clusters_in_a_worker(verifier):
    assert verifier.clusters(["1/2", None, "0.5", "x"], AnswerType.EXPRESSION) == [0, 1, 0, 2]


def test_closing_cancels_and_refuses():
    pool = Verifier(workers=1)
    pool.close()
    pool.close()
    with pytest.raises(VerifierError, match="closed"):
        pool.submit(KNOWN[0][0])


def test_workers_that_do_not_start_are_an_error(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module_anywhere")
    with (
        Verifier(workers=1, plugins=[str(broken)]) as pool,
        pytest.raises(VerifierError, match="no_such_module_anywhere"),
    ):
        pool.verify([KNOWN[0][0]])


def test_a_script_needs_no_main_guard_and_leaves_no_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(r"""
        from harness.core.records import Answer, AnswerType
        from rewards.verifier.jobs import Job
        from rewards.verifier.pool import Verifier
        pool = Verifier(workers=1)
        job = Job(answer=Answer(type=AnswerType.INTEGER, golds=("5",)), response=r"\boxed{5}")
        print(pool.verify([job])[0]["strict"].status, pool._lanes[0].process.pid)
    """)
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    status, pid = done.stdout.split()
    assert status == "correct" and done.returncode == 0
    assert not Path(f"/proc/{pid}").exists()


MANGLER = """
import pathlib, sys
import __main__

plain, state = __main__.send, pathlib.Path(__file__).with_suffix(".count")

def send(stream, message):
    if message[0] == "done":
        state.write_text(state.read_text() + "x" if state.exists() else "x")
        message = ("done", mangle(list(message[1]), len(state.read_text())))
    plain(stream, message)

def mangle(pairs, times):
    {how}

__main__.send = send
"""
ALWAYS_WRONG = {
    "shifted": "return [(number + 1, result) for number, result in pairs]",
    "no number": "return [result for _, result in pairs]",
    "one too many": "return pairs + pairs",
    "an earlier one again": "return [(0, result) for _, result in pairs]",
    "not a list": "return 7",
}


def mangled(tmp_path: Path, how: str) -> Verifier:
    file = tmp_path / "mangler.py"
    file.write_text(MANGLER.format(how=how))
    return Verifier(workers=1, deadline=5.0, plugins=[str(file)])


INTEGERS = [job(str(n), rf"\boxed{{{n if n % 2 else n + 1}}}", AnswerType.INTEGER) for n in range(1, 9)]


@pytest.mark.parametrize("how", ["shifted", "no number", "not a list"])
def test_a_result_of_another_job_is_never_taken(tmp_path, how):
    with mangled(tmp_path, ALWAYS_WRONG[how]) as pool:
        found = [f["strict"] for f in pool.verify(INTEGERS[:2])]
    assert [(f.status, f.reason, f.side) for f in found] == [(Status.UNGRADED, Reason.WORKER_LOST, Side.INSTRUMENT)] * 2


def test_results_out_of_order_are_graded_again_by_a_new_worker(tmp_path):
    # the first answer of the first worker is turned round; the worker that replaces it is in order
    with mangled(tmp_path, "return pairs[::-1] if times == 1 and len(pairs) > 1 else pairs") as pool:
        lane, jobs = pool_lane(pool), [pool_task(j) for j in INTEGERS]
        lane._serve(jobs)
        lane.kill()
    assert [t.future.result()["strict"].correct for t in jobs] == [True, False] * 4
    assert [t.tries for t in jobs].count(2) == 1


def test_a_wrong_number_once_costs_one_more_try(tmp_path):
    with mangled(tmp_path, "return [(n + (times == 1), r) for n, r in pairs]") as pool:
        assert right(pool.verify(INTEGERS)) == [True, False] * 4
    assert len((tmp_path / "mangler.count").read_text()) > 1


def test_a_result_too_many_ends_the_worker(tmp_path):
    with mangled(tmp_path, ALWAYS_WRONG["one too many"]) as pool:
        lane = pool_lane(pool)
        for n in (0, 1):
            task = pool_task(INTEGERS[n])
            lane._serve([task])
            assert task.future.result()["strict"].correct == (n == 0) and lane.process is None


def test_every_job_has_a_number_of_its_own():
    numbers = [pool_task(INTEGERS[0]).number for _ in range(100)]
    assert len(set(numbers)) == 100


def pool_lane(pool: Verifier):
    from rewards.verifier.pool import _Lane

    return _Lane(pool)


def pool_task(one: Job):
    from rewards.verifier.pool import _Task

    return _Task(one)
