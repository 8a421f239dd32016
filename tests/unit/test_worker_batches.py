"""Order and layout of training examples."""

from __future__ import annotations

import random

import pytest
import torch
from finetui.core.api import Encoded
from finetui.core.worker.batches import IGNORED, Schedule, collate, in_batches, in_rounds, loss_tokens

CPU = torch.device("cpu")


def example(length: int, prompt: int = 2, start: int = 10) -> Encoded:
    ids = list(range(start, start + length))
    return Encoded(ids, [IGNORED] * prompt + ids[prompt:])


def test_every_epoch_sees_every_example_once_in_another_order() -> None:
    schedule = Schedule(examples=23, batch_size=4, accumulation=2, seed=0)
    assert schedule.steps_per_epoch == 3
    epochs = [[number for step in range(e * 3, e * 3 + 3) for micro in schedule.step(step) for number in micro] for e in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_step_is_a_function_of_seed_and_index_alone() -> None:
    first, second = (Schedule(examples=23, batch_size=4, accumulation=2, seed=5) for _ in range(2))
    steps = [first.step(index) for index in range(8)]
    assert [second.step(index) for index in reversed(range(8))] == steps[::-1]
    assert Schedule(examples=23, batch_size=4, accumulation=2, seed=6).step(0) != steps[0]


def test_processes_share_the_examples_of_a_step() -> None:
    alone = Schedule(examples=23, batch_size=4, accumulation=2, seed=0)
    ranks = [Schedule(examples=23, batch_size=2, accumulation=2, seed=0, processes=2, rank=rank) for rank in range(2)]
    assert [schedule.steps_per_epoch for schedule in (alone, *ranks)] == [3, 3, 3]
    for step in range(6):
        dealt = [[number for micro in schedule.step(step) for number in micro] for schedule in ranks]
        assert sorted(dealt[0] + dealt[1]) == sorted(number for micro in alone.step(step) for number in micro)
        assert len(dealt[0]) - len(dealt[1]) in (0, 1)
    last = [Schedule(examples=9, batch_size=2, accumulation=1, seed=0, processes=2, rank=rank).step(2) for rank in range(2)]
    assert [len(micro_batches) for micro_batches in last] == [1, 0]


def test_micro_batches_are_full_but_for_the_last_of_an_epoch() -> None:
    schedule = Schedule(examples=23, batch_size=4, accumulation=2, seed=0)
    assert [[len(micro) for micro in schedule.step(index)] for index in range(3)] == [[4, 4], [4, 4], [4, 3]]


@pytest.mark.parametrize(("max_steps", "epochs", "total"), [(7, 3.0, 7), (-1, 3.0, 9), (-1, 0.5, 2), (0, 1.0, 3), (-1, 0.0, 1)])
def test_total_steps(max_steps: int, epochs: float, total: int) -> None:
    assert Schedule(examples=23, batch_size=4, accumulation=2, seed=0).total_steps(max_steps, epochs) == total


def test_a_packed_row_restarts_positions_and_predicts_nothing_across_documents() -> None:
    (batch,) = collate([example(4), example(3, prompt=0, start=50)], packed=True, pad_id=1, device=CPU)
    assert batch.input_ids[0, :7].tolist() == [10, 11, 12, 13, 50, 51, 52]
    assert batch.position_ids[0, :7].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert batch.attention_mask is None
    assert batch.predicts[0, :7].tolist() == [False, True, True, False, True, True, False]
    assert batch.targets.tolist() == [12, 13, 51, 52]
    assert batch.tokens == 7


def test_a_packed_row_is_filled_up_with_a_document_that_carries_no_loss() -> None:
    """So that few different shapes reach the kernels, which are built and kept per shape."""
    (batch,) = collate([example(4), example(3, prompt=0, start=50)], packed=True, pad_id=1, device=CPU)
    assert batch.input_ids.shape == (1, 64) and batch.document_lengths == [4, 3, 57]
    assert batch.input_ids[0, 7:].unique().tolist() == [1] and batch.position_ids[0, 7:].tolist() == list(range(57))
    assert not batch.predicts[0, 7:].any()
    (whole,) = collate([example(64)], packed=True, pad_id=1, device=CPU)
    assert whole.document_lengths == [64]


def test_padded_rows_are_padded_on_the_right_and_masked() -> None:
    (batch,) = collate([example(4), example(3, prompt=0, start=50)], packed=False, pad_id=1, device=CPU)
    assert batch.input_ids.tolist() == [[10, 11, 12, 13], [50, 51, 52, 1]]
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.targets.tolist() == [12, 13, 51, 52]
    assert batch.tokens == 7


def test_padding_wastes_little_and_loses_nothing() -> None:
    generator = random.Random(0)
    examples = [example(generator.randint(20, 500)) for _ in range(64)]
    batches = collate(examples, packed=False, pad_id=1, device=CPU)
    tokens = sum(len(each.input_ids) for each in examples)
    assert sum(batch.tokens for batch in batches) == tokens
    assert sum(batch.input_ids.numel() for batch in batches) <= 1.15 * tokens
    assert sum(len(batch.targets) for batch in batches) == sum(map(loss_tokens, examples))
    assert len(batches) < 40


def test_evaluation_batches_hold_every_example() -> None:
    examples = [example(length) for length in (5, 9, 3, 7, 8)]
    batches = list(in_batches(examples, 2, packed=True, pad_id=1, device=CPU))
    assert [(batch.document_lengths or [])[:-1] for batch in batches] == [[9, 8], [7, 5], [3]]
    assert [batch.tokens for batch in batches] == [17, 12, 3]


def test_processes_share_evaluation_in_as_many_rounds() -> None:
    examples = [example(length) for length in (4, 9, 6, 5, 8)]
    shares = [list(in_rounds(examples, 1, packed=True, pad_id=1, device=CPU, processes=2, rank=rank)) for rank in range(2)]
    assert [[len(batches) for batches in share] for share in shares] == [[1, 1, 1], [1, 1, 0]]
    assert [batch.tokens for share in shares for batches in share for batch in batches] == [9, 6, 4, 8, 5]


def test_the_first_token_is_never_predicted() -> None:
    assert loss_tokens(example(4, prompt=0)) == 3
    assert loss_tokens(example(4, prompt=2)) == 2
