"""From what a user types (`module` or `module:app`) to the app meant."""

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

from treadle.app.app import Treadle
from treadle.model.errors import BadInput, DefinitionError


def load(target: str) -> Treadle:
    """Import a module, from the working directory first, and find its app.

    Raises `BadInput` when there is no such module or app, or several apps, and `DefinitionError` when the module does not
    import: its text is the module's own traceback.
    """
    module_name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise BadInput(
            target, "this is not the name of a module", "Write `package.module` or `package.module:app`, without `.py` or `/`."
        )
    module = _import(module_name, target)
    app = _named(module, attribute, target) if attribute else _only(module, target)
    for task in app.registry.tasks():
        task.check()
    for schedule in app.schedules:
        schedule.declared()
    return app


def _import(name: str, target: str) -> ModuleType:
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            cure = "Run from the project's folder."
            if name.endswith(".py"):
                cure = f"Write {target.replace('.py', '', 1)}, the module, not its file."
            raise BadInput(target, f"there is no module {error.name!r} in {here} nor on the path", cure) from None
        raise _own_trace(name, error) from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise _own_trace(name, error) from error


def _own_trace(name: str, error: BaseException) -> DefinitionError:
    """The module's own traceback as an error: the import machinery and this file are left out of it."""
    trace = error.__traceback__
    while trace is not None and _foreign(trace):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    return DefinitionError(f"{name} does not import:\n{text}")


def _foreign(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file == __file__ or file == importlib.__file__ or file.startswith("<frozen importlib")


def _named(module: ModuleType, attribute: str, target: str) -> Treadle:
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Treadle):
        return found
    what = f"is a {type(found).__name__}, not a Treadle app" if found is not None else "does not exist"
    raise BadInput(target, f"{attribute} in {module.__name__} {what}", _cure(module))


def _only(module: ModuleType, target: str) -> Treadle:
    apps = _apps(module)
    different = {id(app): name for name, app in apps.items()}
    if len(different) == 1:
        return next(iter(apps.values()))
    if apps:
        raise BadInput(
            target, f"the module holds several apps: {', '.join(apps)}", f"Say which: {module.__name__}:{next(iter(apps))}."
        )
    raise BadInput(target, "the module holds no Treadle app", "Put `app = Treadle()` at its top, or name the module that does.")


def _apps(module: ModuleType) -> dict[str, Treadle]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Treadle)}


def _cure(module: ModuleType) -> str:
    apps = _apps(module)
    return f"It holds: {', '.join(apps)}." if apps else "It holds no Treadle app at all."
