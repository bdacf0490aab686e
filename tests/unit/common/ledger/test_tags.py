"""Every field that leaves a vault has a tag that fits its type, and none of them is sealed."""

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from typing import Any

import pytest

from comity.v1 import coordination_pb2, enrolment_pb2, transfer_pb2
from comity_common.ids import Digest
from comity_common.ledger.bodies import BODIES, DatasetId, Egress, NamespaceId
from comity_common.ledger.controls import CONTROLS
from comity_common.ledger.entries import Entry
from comity_common.ledger.messagetags import CARRIERS, LEAVES, MESSAGES, WHOLE
from comity_common.ledger.tags import ENTRIES, Tag, Tagged, Tags

OPAQUE = (bytes, Digest, DatasetId, NamespaceId)
"""Types that random bytes may have: never a number, a text or a word of a list."""

SERVICES = (
    transfer_pb2.DESCRIPTOR.services_by_name["Transfer"],
    enrolment_pb2.DESCRIPTOR.services_by_name["Enrolment"],
)
ANSWER = coordination_pb2.Acknowledgement.DESCRIPTOR


def parts(hint: Any) -> Iterator[Any]:
    """Take a type apart into the plain types that its values can have."""
    if typing.get_origin(hint) in (tuple, types.UnionType, typing.Union):
        for part in typing.get_args(hint):
            if part not in (Ellipsis, type(None)):
                yield from parts(part)
    else:
        yield hint


def faults(roots: tuple[type, ...], tags: Tags, whole: tuple[type, ...] = ()) -> list[str]:
    """Hold the tags of types, and of all types in them, against their fields."""
    found, seen, waiting = [], set(), list(roots)
    while waiting:
        kind = waiting.pop()
        if kind in seen or kind in whole:
            continue
        seen.add(kind)
        if kind not in tags:
            found.append(f"{kind.__name__} has no tags")
            continue
        hints = typing.get_type_hints(kind)
        plain = {}
        for field in fields(kind):
            inner = [part for part in parts(hints[field.name]) if is_dataclass(part)]
            waiting += inner
            if not inner:
                plain[field.name] = list(parts(hints[field.name]))
        found += [f"{kind.__name__}.{name} has no tag" for name in plain.keys() - tags[kind].keys()]
        found += [
            f"{kind.__name__}.{name} is no such field" for name in tags[kind].keys() - plain.keys()
        ]
        for name in plain.keys() & tags[kind].keys():
            found += misfits(f"{kind.__name__}.{name}", tags[kind][name], plain[name])
    found += [f"{kind.__name__} is nowhere in what is shared" for kind in tags.keys() - seen]
    return found


def misfits(name: str, tagged: Tagged, kinds: list[Any]) -> list[str]:
    """Refuse a sealed field, a number that calls itself random, and a tag without a reason."""
    found = []
    if tagged.tag is Tag.SEALED:
        found.append(f"{name} is sealed, and shared")
    if tagged.tag is Tag.RANDOM and not set(kinds) <= set(OPAQUE):
        found.append(f"{name} is no bytes and no digest, and called random")
    if len(tagged.why.split()) < 2:
        found.append(f"{name} has its tag for no reason")
    return found


def test_every_field_of_every_entry_has_a_tag_and_none_is_sealed():
    assert faults((Entry, *BODIES.values()), ENTRIES) == []


def test_every_field_of_every_message_that_leaves_has_a_tag_and_none_is_sealed():
    assert faults(sum(LEAVES.values(), ()), MESSAGES, WHOLE) == []


def test_the_messages_are_those_of_the_closed_list_and_the_upload():
    assert LEAVES.keys() == CONTROLS.keys() | {"upload"}


def test_a_clock_is_read_for_the_time_of_an_entry_and_of_a_cosignature_alone():
    timed = {
        (kind, name)
        for tags in (ENTRIES, MESSAGES)
        for kind, of_kind in tags.items()
        for name, tagged in of_kind.items()
        if tagged.tag is Tag.TIME
    }
    assert {(kind.__name__, name) for kind, name in timed} == {
        ("Entry", "time"),
        ("Cosignature", "timed"),
    }


def requests() -> Iterator[Any]:
    """Go through every protobuf message that leaves a vault, and what is in it."""
    waiting = [method.input_type for service in SERVICES for method in service.methods]
    waiting.append(ANSWER)
    seen = set()
    while waiting:
        message = waiting.pop()
        if message.name not in seen:
            seen.add(message.name)
            yield message
            waiting += [field.message_type for field in message.fields if field.message_type]


def test_every_field_of_a_carrier_has_a_tag_and_none_is_sealed():
    assert {message.name for message in requests()} == CARRIERS.keys()
    for message in requests():
        tags: Mapping[str, Tagged] = CARRIERS[message.name]
        assert {field.name for field in message.fields} == tags.keys(), message.name
        assert all(tagged.tag in (Tag.PUBLIC, Tag.RANDOM) for tagged in tags.values())


@dataclass(frozen=True)
class Counted:
    """A body that says how many rows there were."""

    rows: int
    digest: Digest


@pytest.mark.parametrize(
    ("tags", "fault"),
    [
        ({}, "Counted has no tags"),
        ({"digest": Tagged(Tag.RANDOM, "of a plan")}, "Counted.rows has no tag"),
        (
            dict.fromkeys(("rows", "digest", "nonce"), Tagged(Tag.PUBLIC, "of the agreement")),
            "Counted.nonce is no such field",
        ),
        (
            {"rows": Tagged(Tag.SEALED, "counts rows"), "digest": Tagged(Tag.RANDOM, "of a plan")},
            "Counted.rows is sealed, and shared",
        ),
        (
            dict.fromkeys(("rows", "digest"), Tagged(Tag.RANDOM, "of a plan")),
            "Counted.rows is no bytes and no digest, and called random",
        ),
        (
            {"rows": Tagged(Tag.PUBLIC, ""), "digest": Tagged(Tag.RANDOM, "of a plan")},
            "Counted.rows has its tag for no reason",
        ),
    ],
)
def test_a_field_without_a_fitting_tag_would_be_found(tags, fault):
    assert faults((Counted,), {Counted: tags} if tags else {}) == [fault]


def test_a_field_that_is_added_to_a_type_inside_an_entry_would_be_found():
    grown = make_dataclass("Egress", [*fields_of(Egress), ("inner", Counted)])
    tags = {kind if kind is not Egress else grown: of for kind, of in ENTRIES.items()}
    roots = (Entry, *(grown if kind is Egress else kind for kind in BODIES.values()))
    assert "Counted has no tags" in faults(roots, tags)


def fields_of(kind: type) -> list[tuple[str, Any]]:
    return list(typing.get_type_hints(kind).items())
