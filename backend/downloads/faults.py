"""What goes wrong on the way to the hub or the disk, as one sentence with a remedy."""

import contextlib
import errno
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from backend.errors import UserError

_NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def explained(name: str, source: str, folder: Path) -> Iterator[None]:
    """Faults of the network, of `source` and of the disk while `name` is fetched, as UserError."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError(
            f"{name} cannot be downloaded while HF_HUB_OFFLINE is set: unset it, or import a folder."
        ) from error
    except GatedRepoError as error:
        raise UserError(f"{source} gives {name} only to those who asked for it: import a folder.") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"{source} does not have {name} at its pinned version: choose another mirror, or import a folder."
        ) from error
    except (HfHubHTTPError, httpx2.HTTPStatusError) as error:
        raise UserError(
            f"{source} answered {error.response.status_code} for {name}: try again later, or choose another "
            "mirror."
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{source} does not answer as the hub does, so {name} was not downloaded: correct the mirror."
        ) from error
    except httpx2.TransportError as error:
        raise UserError(
            f"{source} cannot be reached, so {name} was not downloaded: check the network or the mirror and "
            "download again; what has arrived is kept."
        ) from error
    except (ImportError, ValueError) as error:  # of the client, which takes no such proxy
        if "proxy" not in str(error).lower():
            raise
        raise UserError(
            f"{name} cannot be downloaded by the proxy that is set here ({error}): set HTTPS_PROXY to an "
            "http:// address, and unset ALL_PROXY."
        ) from error
    except OSError as error:
        raise UserError(_disk_sentence(error, name, folder)) from error


def _disk_sentence(error: OSError, name: str, folder: Path) -> str:
    if error.errno in _NO_SPACE:
        return f"The disk of {folder} is full: free some space and download {name} again; what came is kept."
    if error.errno is None:  # huggingface_hub's own word for a body that ended early
        return f"The download of {name} ended early: download again; what has arrived is kept."
    return f"{folder} cannot be written ({error.strerror}): choose another models folder in the preferences."
