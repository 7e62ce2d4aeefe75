"""Options of commands as pydantic models: a command takes a model, and Typer sees one option per field."""

import inspect
from collections.abc import Callable, Iterator
from copy import copy
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from typer.models import OptionInfo

DataDir = Annotated[Path, typer.Option(envvar="ROBXFER_DATA_DIR", help="Folder of the embedded stack.")]
DEFAULT_DATA_DIR = Path("robxfer-data")


class ServiceOptions(BaseModel):
    """Which service a command talks to, and how it prints."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    server: Annotated[str | None, typer.Option(envvar="ROBXFER_SERVER")] = None
    """URL of a service; without it, the embedded stack."""
    token: Annotated[str | None, typer.Option(envvar="ROBXFER_TOKEN"), Field(repr=False)] = None
    """Token for the service; or in the file ROBXFER_TOKEN_FILE."""
    data_dir: DataDir = DEFAULT_DATA_DIR
    as_json: Annotated[bool, typer.Option("--json")] = False
    """Print JSON instead of text."""


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a Typer command one option for each field of each of its parameters that is a pydantic model.

    An option has its field's type, default and description. A field may carry a `typer.Option` in its annotation for
    what else there is to say, such as an environment variable.

    Args:
        command: The command. It is called with validated models.

    Returns:
        The same command with a signature that Typer understands. A value that the model refuses ends it with
        exit status 2 and the option's name.
    """
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    models: dict[str, type[BaseModel]] = {p.name: p.annotation for p in parameters if _is_model(p.annotation)}

    @wraps(command)
    def run(**values: Any) -> None:
        built = {name: _build(model, values) for name, model in models.items()}
        names = {name for model in models.values() for name in model.model_fields}
        command(**built, **{name: value for name, value in values.items() if name not in names})

    expanded = [option for p in parameters for option in _expanded(p, models.get(p.name))]
    vars(run)["__signature__"] = inspect.Signature(expanded)
    return run


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _expanded(parameter: inspect.Parameter, model: type[BaseModel] | None) -> Iterator[inspect.Parameter]:
    if model is None:
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    for name, field in model.model_fields.items():
        default = inspect.Parameter.empty if field.is_required() else field.default
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=_annotation(field), default=default)


def _annotation(field: FieldInfo) -> Any:
    given = next((each for each in field.metadata if isinstance(each, OptionInfo)), None)
    option = copy(given) if given else typer.Option()
    option.help = option.help or field.description
    return Annotated[_plain(field.annotation), option]


def _plain(annotation: Any) -> Any:
    """A type without constraints, which are the model's to check: Typer would print them in the help."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(map(_plain, get_args(annotation)))]  # noqa: UP007
    return annotation


def _build(model: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    try:
        return model(**{name: values[name] for name in model.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(first["msg"], param_hint=f"'{option}'") from None
