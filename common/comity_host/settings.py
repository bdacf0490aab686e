"""Settings in TOML: one file a daemon, read into a type that refuses what it does not know."""

import json
import re
import tomllib
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from comity_common.errors import Problem
from comity_host.files import write_durably

WHOLE = "taken together"  # a mistake of no single key
MAX_DOTS = 100  # of a key; tomllib's time grows with their square, and ours have two


class Settings(BaseModel):
    """The base of all settings: frozen, and without unknown keys. Secrets are never in them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def expected(what: str) -> PydanticCustomError:
    """Word an error about one key: `raise expected("a day in the future")`."""
    return PydanticCustomError("settings", "expected {what}", {"what": what})


def like(pattern: str, what: str) -> AfterValidator:
    """Check that a text is like a pattern; say what was expected where it is not.

    Args:
        pattern: of the whole text.
    """
    wanted = re.compile(pattern)

    def check(text: str) -> str:
        if not wanted.fullmatch(text):
            raise expected(what)
        return text

    return AfterValidator(check)


_ADDRESS = r"[^:/\s\x00-\x1f\x7f]+:[0-9]{1,5}"
Address = Annotated[str, like(_ADDRESS, "an address like operator.example:7443")]
AddressOrNone = Annotated[
    str, like(rf"({_ADDRESS})?", "an address like operator.example:7443, or nothing")
]


def load(path: Path, kind: type[S]) -> S:
    """Read settings.

    Raises:
        Problem: the file is missing, no TOML, or has a wrong or unknown key.
    """
    try:
        text = path.read_text("utf-8")
        if any(line.partition("=")[0].count(".") > MAX_DOTS for line in text.splitlines()):
            raise ValueError("a key has more parts than any setting")
        content = tomllib.loads(text, parse_float=Decimal)
    except (ArithmeticError, RecursionError):  # what tomllib itself does not mind
        why = "a number or a nesting is beyond all bounds"
        raise Problem("COM-CONF-003", file=path.name, why=why) from None
    except (OSError, ValueError) as error:
        raise Problem("COM-CONF-003", file=path.name, why=error) from None
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        unknown = (one for one in wrong if one["type"] == "extra_forbidden")
        first = next(unknown, wrong[0])
        key = ".".join(str(part) for part in first["loc"]) or WHOLE
        if first["type"] == "extra_forbidden":
            meant = get_close_matches(str(first["loc"][-1]), _keys(kind, first["loc"][:-1]), n=1)
            hint = f"; the nearest that exists is {meant[0]}" if meant else ""
            raise Problem("COM-CONF-001", file=path.name, key=key, hint=hint) from None
        raise Problem("COM-CONF-002", file=path.name, key=key, why=first["msg"]) from None


def write(path: Path, settings: Settings) -> None:
    """Write settings as TOML, durably: plain keys first, then a section for each nested type."""
    values = settings.model_dump(mode="json", exclude_none=True)
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {_spell(value)}" for key, value in values.items() if key not in sections]
    for name, section in sections.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_spell(value)}" for key, value in section.items()]
    write_durably(path, ("\n".join(lines) + "\n").encode())


def _spell(value: object) -> str:
    # Texts, numbers and lists are alike in TOML, but that DEL must be escaped (TOML 1.0, strings).
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _keys(kind: type[BaseModel], section: tuple[int | str, ...]) -> list[str]:
    """Name the keys that a section may have; none where it cannot be told."""
    for name in section:
        field = kind.model_fields.get(str(name))
        kinds = [field.annotation] if field else []
        kinds += list(getattr(kinds[0], "__args__", ())) if kinds else []
        nested = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
        if not nested:
            return []
        kind = nested[0]
    return list(kind.model_fields)
