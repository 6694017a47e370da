"""The command line: one file a verb. Commands parse, call one library function, print.

Every error is one line on stderr and exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import typer

from . import (
    compress,
    convert,
    convert_voice,
    data,
    explain,
    export,
    forensics,
    info,
    inspect,
    measure,
    pull,
    say,
    serve,
    steer,
    studio,
    text,
    tokens,
    train,
    trust,
    tune,
    verify,
    voice,
    voices,
    why,
)
from .common import ERROR, complain, keep_records_at_home, note

app = typer.Typer(
    help="Clone a voice from seconds of audio, offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("say")(say.say)
app.command("why")(why.why)
app.add_typer(steer.app, name="steer")
app.command("voices")(voices.voices)
app.add_typer(voice.app, name="voice")
app.command("info")(info.info)
app.command("pull")(pull.pull)
app.command("convert")(convert.convert)
app.command("explain")(explain.explain)
app.command("tokens")(tokens.tokens)
app.command("export")(export.export)
app.command("inspect")(inspect.inspect)
app.command("convert-voice")(convert_voice.convert_voice)
app.add_typer(text.app, name="text")
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("serve")(serve.serve)
app.command("studio")(studio.studio)
app.command("measure")(measure.measure)
app.command("tune")(tune.tune)
app.add_typer(compress.app, name="compress")
app.command("verify")(verify.verify)
app.add_typer(trust.app, name="trust")
app.add_typer(forensics.app, name="forensics")

USAGE_ERROR = typer.BadParameter.__mro__[2]  # ClickException, wherever typer keeps it
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: note(str(message))
        try:
            keep_records_at_home()
            result = app(list(sys.argv[1:] if arguments is None else arguments),
                         prog_name="voxray", standalone_mode=False)  # fmt: skip
        except USAGE_ERROR as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the help is the message
                error.show()  # type: ignore[attr-defined]
                return ERROR
            return complain(error.format_message() or "see --help")  # type: ignore[attr-defined]
        except (KeyboardInterrupt, typer.Abort):
            return complain("stopped", INTERRUPTED)
        except (ValueError, OSError, ImportError) as error:
            return complain(str(error) or type(error).__name__)
    return result if isinstance(result, int) else 0


def run() -> None:
    """The `voxray` script."""
    raise SystemExit(main())
