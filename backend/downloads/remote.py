"""What there is to fetch for an entry: addresses, sizes and hashes, as the hub tells them of its commit."""

from dataclasses import dataclass

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers

from backend.errors import UserError
from blender_trellis.catalogue.entries import Entry, File

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch. sha256 "": the hub keeps it outside of LFS, and git_sha1 is that of its blob."""

    path: str
    url: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Remote:
    """The files of an entry at one commit, and what to send along to get them."""

    files: tuple[RemoteFile, ...]
    revision: str = ""
    headers: dict[str, str] | None = None

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)


def remote(entry: Entry, endpoint: str = "") -> Remote:
    """What `endpoint`, the hub or a mirror, has of an entry; UserError where a file lacks or differs."""
    if entry.url:
        only = entry.files[0]
        return Remote((RemoteFile(only.path, entry.url, only.size_bytes, only.sha256),))
    told = HfApi(endpoint=endpoint or HUB).model_info(
        entry.repository, revision=entry.revision or None, files_metadata=True, timeout=30
    )
    held = {one.rfilename: one for one in told.siblings or ()}
    revision = told.sha or entry.revision
    files = tuple(_file(entry, one, held.get(one.path), revision, endpoint) for one in entry.files)
    return Remote(files, revision, build_hf_headers())


def _file(entry: Entry, wanted: File, found: RepoSibling | None, revision: str, endpoint: str) -> RemoteFile:
    if found is None or found.size is None:
        raise UserError(
            f"The repository {entry.repository} has no {wanted.path} at its pinned version: choose another "
            "mirror, or import a folder."
        )
    told = found.lfs.sha256 if found.lfs is not None else ""
    if wanted.sha256 and told and told != wanted.sha256:
        raise UserError(
            f"{entry.repository} offers another {wanted.path} than the known one: choose another mirror."
        )
    url = hf_hub_url(entry.repository, wanted.path, revision=revision, endpoint=endpoint or HUB)
    return RemoteFile(wanted.path, url, found.size, wanted.sha256 or told, found.blob_id or "")
