import numpy as np
import pytest

from comity_client.model.examples import BUCKETS, TOKENS_PER_BATCH, Features, TokenisedTexts

LENGTHS = (2, 8, 9, 16, 17, 40, 512, 130, 3, 8)


def texts() -> TokenisedTexts:
    return TokenisedTexts([list(range(1, length + 1)) for length in LENGTHS])


@pytest.mark.parametrize("records", [[], [5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 3, 3, 0] * 30])
def test_every_chosen_record_is_in_one_batch_row_and_none_is_cut(records: list[int]) -> None:
    examples = texts()
    found = []
    for batch in examples.batches(np.array(records, dtype=np.int64)):
        ids, visible = batch.inputs[0], batch.inputs[1]
        for row, record in enumerate(batch.records):
            seen = ids[row][visible[row, 0, 0]].tolist()
            assert seen == list(range(1, LENGTHS[record] + 1))
            found.append(int(record))
    assert sorted(found) == sorted(records)


def test_the_shape_of_a_batch_says_nothing_about_its_company() -> None:
    examples = texts()
    for record, length in enumerate(LENGTHS):
        bucket = min(b for b in BUCKETS if b >= length)
        for company in (np.array([record]), np.arange(len(LENGTHS)), np.array([record] * 50)):
            batches = [b for b in examples.batches(company) if record in b.records]
            assert {b.inputs[0].shape for b in batches} == {
                (max(1, TOKENS_PER_BATCH // bucket), bucket)
            }


def test_the_mask_has_the_form_that_transformers_never_drops() -> None:
    """A mask of two axes is dropped where no row of the batch has padding."""
    lengths = [16] * TOKENS_PER_BATCH
    examples = TokenisedTexts([list(range(length)) for length in lengths])
    batch = next(examples.batches(np.arange(len(lengths))))
    assert batch.inputs[1].all()
    assert batch.inputs[1].shape == (len(batch.records), 1, 1, 16)


def test_positions_are_written_out_for_every_row() -> None:
    for batch in texts().batches(np.arange(len(LENGTHS))):
        ids, _, kinds, positions = batch.inputs
        assert positions.shape == kinds.shape == ids.shape
        assert (positions == positions[0]).all()


def test_features_are_cut_into_batches_of_one_shape() -> None:
    vectors = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    for count in (0, 1, 33):
        records = np.arange(count)[::-1].copy()
        batches = list(Features(vectors).batches(records))
        assert len({batch.inputs[0].shape for batch in batches}) <= 1
        got = [batch.inputs[0][: len(batch.records)].numpy() for batch in batches]
        assert np.array_equal(np.concatenate([*got, vectors[:0]]), vectors[records])


def test_examples_show_nothing_of_their_content() -> None:
    assert repr(texts()) == "TokenisedTexts(...)"
    assert repr(Features(np.ones((3, 2), dtype=np.float32))) == "Features(...)"
