"""What an upload may weigh is its vector and what must go with it, for few parties and for many."""

import random

import pytest
from tests.simulation.federation import World

from comity_common.canonical import encode
from comity_common.ledger.crossings import of_upload, upload_sizes
from comity_common.secagg.kinds import RoundKind
from comity_common.secagg.masking import vector_bytes


@pytest.mark.parametrize(("institutions", "lanes"), [(3, 1), (3, 50), (20, 50), (40, 700_000)])
def test_what_vaults_send_fits_and_a_page_of_rows_does_not(institutions: int, lanes: int) -> None:
    world = World.of(institutions, lanes=lanes)
    plan = world.plan()
    who = plan.participants[0]
    world.deal(plan, who, random.Random(1))
    dealt = world.dealt[who]
    header, upload = encode(dealt.header), encode(dealt.upload)
    size = of_upload(header, upload, dealt.boxes, dealt.leaves).size_bytes
    allowed = upload_sizes(world.agreement, RoundKind.TRAIN)
    assert size in allowed
    assert size - (len(header) + len(upload)) // 2 in allowed  # shorter names, fewer digits
    assert allowed.start == vector_bytes(lanes, plan.ring_width)
    assert allowed.stop - allowed.start < 8_000 + 2 * (size - allowed.start)


def test_scores_are_a_small_upload_whatever_the_model() -> None:
    world = World.of(3, lanes=700_000)
    assert upload_sizes(world.agreement, RoundKind.EVALUATE).stop < 10_000
