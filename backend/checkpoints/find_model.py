"""Where models lie: bundled ones, downloaded ones, and the download cache of huggingface_hub."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from backend.errors import MissingModel
from backend.machine.hub_cache import (
    cache_of,
    cached_repositories,
    refuse_partial,
    refuse_partial_repository,
    repository_name,
    snapshots,
)
from blender_trellis.catalogue.hub_caches import hub_caches

WEIGHTS = Path(__file__).parents[1] / "weights"


def models_folder() -> Path:
    """Where downloaded models lie: the environment variable TRELLIS_MODELS, or the user's cache.

    It begins with "~" where the account has no home that is known, and then is nowhere.
    """
    return Path(os.path.expanduser(os.environ.get("TRELLIS_MODELS") or "~/.cache/trellis/models"))


def bundled_models() -> tuple[str, ...]:
    """Names of the models that come with this software."""
    return _models_in(WEIGHTS)


def available_models() -> tuple[str, ...]:
    """Names of the models that `find_model` finds without a path: bundled ones, then downloaded ones."""
    cached = (
        repository_name(repository) or ""
        for repository in cached_repositories(_caches())
        if any(_is_model(snapshot) for snapshot in snapshots(repository))
    )
    return tuple(dict.fromkeys((*bundled_models(), *_models_in(models_folder()), *sorted(cached))))


def find_model(model: str | Path) -> Path:
    """The folder of a bundled or downloaded model by name ("starter", "owner/repo", "repo"), or by path.

    A path may also be a models--… folder of the download cache. MissingModel if there is none, UserError if
    its download is not complete.
    """
    for candidate in _candidates(model):
        if _is_model(candidate):
            folder = candidate.resolve()
            refuse_partial(folder)
            return folder
    name = repository_name(Path(model)) or str(model)
    caches = (*_caches(), Path(os.path.expanduser(model)).absolute().parent)
    refuse_partial_repository(name, caches)
    held = (one for repository in cached_repositories(caches, name) for one in snapshots(repository))
    if snapshot := next(held, None):
        called = repository_name(snapshot)
        raise MissingModel(
            f"The download of {called} in {snapshot} holds no pipeline.json: run `hf download {called}` again"
            " for all of its files, or choose another model."
        )
    raise MissingModel(
        f"There is no model {model}: give the folder that holds its pipeline.json, or download the model "
        f"into {models_folder()}."
    )


def find_checkpoint(folder: Path, parts: tuple[str, ...]) -> Path:
    """A checkpoint that pipeline.json of `folder` names by `parts`, without suffix.

    It is a path inside the folder, or in the repository that its first two parts name. Where there is none,
    the path at which it should be.
    """
    candidates = [folder.joinpath(*parts)]
    if len(parts) > 2:
        owner, repository, *rest = parts
        homes = (folder.parent, folder.parent.parent, models_folder())
        candidates += [
            home.joinpath(*place, *rest) for home in homes for place in ((repository,), (owner, repository))
        ]
        cached = cached_repositories((*cache_of(folder), *_caches()), f"{owner}/{repository}")
        candidates[-1:-1] = [one.joinpath(*rest) for found in cached for one in snapshots(found)]
    found = (path for path in candidates if os.path.isfile(path.with_name(path.name + ".json")))
    return next(found, candidates[-1])


def _caches() -> tuple[Path, ...]:
    return (models_folder(), *hub_caches())


def _candidates(model: str | Path) -> Iterator[Path]:
    path = Path(os.path.expanduser(model))
    by_name = isinstance(model, str) and bool(model) and not path.is_absolute()
    if by_name:
        name = PurePosixPath(model)
        yield from (WEIGHTS / name, models_folder() / name, models_folder() / name.name)
    yield path
    for folder in (path, path.absolute().parent):  # a models--… folder, or its snapshots
        if repository_name(folder / "snapshots" / "any"):
            yield from snapshots(folder)
    if by_name:
        name_in_cache = repository_name(path) or str(PurePosixPath(model))
        for repository in cached_repositories(_caches(), name_in_cache):
            yield from snapshots(repository)


def _models_in(folder: Path) -> tuple[str, ...]:
    if not os.path.isdir(folder):  # also of one that may not be read, where pathlib raises
        return ()
    found = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/pipeline.json")}
    found |= {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/pipeline.json")}
    return tuple(sorted(name for name in found if not name.startswith(".")))  # such a folder still arrives


def _is_model(folder: Path) -> bool:
    return os.path.isfile(folder / "pipeline.json")
