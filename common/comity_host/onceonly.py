"""An option that means one thing is given once: Click alone would take the last and say nothing."""

from collections.abc import Iterator

import click


def refuse_repeats(command: click.Command) -> None:
    """Let a command, and all that are below it, refuse an option that was given twice.

    Options that may be repeated are left alone, and flags, which say the same twice.

    Raises:
        click.UsageError: when the command is called so.
    """
    for one in _below(command):
        _watch(one)


def _below(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from _below(one)


def _watch(command: click.Command) -> None:
    parse = command.parse_args

    def parse_once(ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = command.make_parser(ctx).parse_args(list(args))
        for option in set(given):
            if _means_one_thing(option) and given.count(option) > 1:
                raise click.UsageError(f"{option.opts[0]} was given more than once", ctx)
        return parse(ctx, args)

    command.parse_args = parse_once  # type: ignore[method-assign]


def _means_one_thing(parameter: click.Parameter) -> bool:
    return (
        isinstance(parameter, click.Option)
        and not parameter.multiple
        and not parameter.is_flag
        and not parameter.count
    )
