"""The packed layout: every token in its place once, budgets kept, scatter and gather inverse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import TrainingError
from harness.core.records import Prompt
from tests.trainers import small
from trainers.batching import Item, MicroBatch, gather, plan, scatter, scatter_states


def line(prompt: Prompt) -> torch.Tensor:
    return torch.arange(len(prompt.ids))


def group(prompt: tuple[int, ...], responses: list[tuple[int, ...]], first: int) -> Item:
    record = Prompt(example_id=f"p{first}", ids=prompt, engine_ids=prompt, text="", template_hash="h")
    return Item(record, tuple(responses), tuple(range(first, first + len(responses))))


def test_the_layout_of_two_groups_by_hand() -> None:
    (mb,) = plan([group((1, 2), [(3, 4, 5), (6,)], 0), group((7,), [(8, 9)], 2)], 100, line)
    assert mb.input_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert mb.position_ids.tolist() == [0, 1, 2, 3, 4, 2, 0, 1, 2]
    assert mb.targets.tolist() == [3, 4, 5, 6, 8, 9]
    assert mb.score_at.tolist() == [1, 2, 3, 1, 6, 7]  # the last prompt place serves both first tokens
    assert mb.rollout.tolist() == [0, 0, 0, 1, 2, 2]
    assert mb.offset.tolist() == [0, 1, 2, 0, 0, 1]
    assert mb.state_at.tolist() == [1, 2, 3, 4, 1, 5, 6, 7, 8]
    assert (mb.rows, mb.lengths, mb.responses_of, mb.tokens) == ((0, 1, 2), (3, 1, 2), (2, 1), 9)
    assert mb.segments.lengths() == [2, 3, 1, 1, 2]
    assert mb.segments.reads() == [[(0, 2)], [(0, 2), (2, 5)], [(0, 2), (5, 6)], [(6, 7)], [(6, 7), (7, 9)]]


def test_three_axis_positions_go_on_behind_the_largest_on_every_axis() -> None:
    def axes(prompt: Prompt) -> torch.Tensor:
        return torch.tensor([[0, 1, 1], [0, 1, 4], [0, 1, 2]])

    (mb,) = plan([group((1, 2, 3), [(4, 5), (6,)], 0)], 100, axes)
    assert mb.position_ids.tolist() == [[0, 1, 1, 5, 6, 5], [0, 1, 4, 5, 6, 5], [0, 1, 2, 5, 6, 5]]


shapes = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(0, 12), min_size=1, max_size=6)), min_size=1, max_size=6
)


def drawn(layout: list[tuple[int, list[int]]]) -> list[Item]:
    """Groups of the given lengths whose every token is a number of its own."""
    counter = iter(range(10_000))
    made, row = [], 0
    for prompt, lengths in layout:
        ids = tuple(next(counter) for _ in range(prompt))
        made.append(group(ids, [tuple(next(counter) for _ in range(n)) for n in lengths], row))
        row += len(lengths)
    return made


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(1, 60))
def test_every_rollout_is_in_one_micro_batch_with_its_own_prompt_within_the_budget(
    layout: list[tuple[int, list[int]]], budget: int
) -> None:
    items = drawn(layout)
    known = {row: (item.prompt, r) for item in items for row, r in zip(item.rows, item.responses, strict=True)}
    plans = plan(items, budget, line)
    assert sorted(row for mb in plans for row in mb.rows) == sorted(known)
    for mb in plans:
        owners = [p for p, n in zip(mb.prompts, mb.responses_of, strict=True) for _ in range(n)]
        for k, row in enumerate(mb.rows):
            prompt, response = known[row]
            mine = mb.rollout == k
            assert owners[k] is prompt
            assert tuple(mb.targets[mine].tolist()) == response
            assert mb.input_ids[mb.score_at[mine]].tolist() == [prompt.ids[-1], *response][: len(response)]
        assert mb.tokens <= budget or len(mb.rows) == 1
    fits = {id(i.prompt) for i in items if len(i.prompt.ids) + sum(map(len, i.responses)) <= budget}
    for fit in fits:  # a group that fits is never split
        assert sum(id(p) == fit for mb in plans for p in mb.prompts) == 1


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_scatter_and_gather_are_inverse_and_states_stand_where_they_are_read(
    layout: list[tuple[int, list[int]]],
) -> None:
    (mb,) = plan(drawn(layout), 10_000, line)
    values = torch.arange(1.0, len(mb.targets) + 1)
    wide = scatter(values, mb)
    assert wide.shape == (len(mb.rows), max(1, *mb.lengths))
    assert torch.equal(gather(wide, mb), values)
    assert torch.equal((wide != 0).sum(-1), torch.tensor(mb.lengths))
    states = scatter_states(mb.state_at[:, None] + 1, mb)[..., 0]
    ids = torch.where(states > 0, mb.input_ids[(states - 1).clamp(min=0)], -1)
    for k, length in enumerate(mb.lengths):
        assert ids[k, 1 : length + 1].tolist() == mb.targets[mb.rollout == k].tolist()
        assert states[k, : length + 1].ne(0).all() and states[k, length + 1 :].eq(0).all()


def test_scatter_carries_gradients() -> None:
    (mb,) = plan([group((1, 2), [(3, 4, 5), (6,)], 0)], 100, line)
    values = torch.ones(4, requires_grad=True)
    (scatter(values, mb) * torch.tensor([[1.0, 2, 3], [4, 5, 6]])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1, 2, 3, 4]


def test_images_come_once_per_prompt_in_the_order_of_the_row() -> None:
    one, two = small.image_prompt([(1, 4, 6)], 1), small.image_prompt([(1, 2, 2), (1, 4, 4)], 2)
    (mb,) = plan(
        [small.item(one, (3, 4)), small.item(small.text_prompt(4, 3), (2,), 2), small.item(two, (5,), 3)], 999, line
    )
    assert mb.grid is not None and mb.grid.tolist() == [[1, 4, 6], [1, 2, 2], [1, 4, 4]]
    assert mb.patches is not None and one.patches is not None and len(mb.patches) == 24 + 4 + 16
    assert torch.equal(mb.patches[:24], torch.from_numpy(one.patches.patches))
    assert (
        mb.image_at is not None and (mb.input_ids[mb.image_at] == small.IMAGE).all() and len(mb.image_at) == 6 + 1 + 4
    )


def test_nothing_to_plan_and_malformed_items() -> None:
    assert plan([], 10, line) == []
    with pytest.raises(TrainingError, match="item p0 has 1 prompt tokens, 1 responses and 2 rows"):
        plan([Item(group((1,), [(2,)], 0).prompt, ((2,),), (0, 1))], 10, line)


def test_a_micro_batch_moves_as_a_whole() -> None:
    (mb,) = plan([small.item(small.image_prompt([(1, 4, 4)], 1), (3, 2))], 99, line)
    moved = mb.to("meta")
    tensors = [name for name in MicroBatch.__dataclass_fields__ if isinstance(getattr(mb, name), torch.Tensor)]
    assert all(getattr(moved, name).device.type == "meta" for name in tensors)
    assert moved.rows == mb.rows and moved.segments == mb.segments
