"""Errors of the Hugging Face hub and of the network on the way to it, as messages that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from prunebench.config.sources import HubSource
from prunebench.errors import PrunebenchError


class HubUnavailableError(PrunebenchError):
    """The hub answers no question, whatever the repository."""

    def __init__(self, reason: str, repo: str, rest: str) -> None:
        """The message is `reason`, the repository that was asked for, and `rest`."""
        super().__init__(f"{reason} for {repo}{rest}")
        self.anywhere = f"{reason}{rest}"
        """The message without the repository."""


@contextmanager
def explained(source: HubSource) -> Iterator[None]:
    """Turn the exceptions of huggingface_hub and the network into a PrunebenchError that says what to do."""
    hub = constants.ENDPOINT
    try:
        yield
    except GatedRepoError as error:
        raise PrunebenchError(f"{source.repo} is gated: {_consent(source)}") from error
    except RepositoryNotFoundError as error:
        raise PrunebenchError(
            f"{hub} has no {source.repo_type} {source.repo}, or it is private: correct 'repo' in the catalog, or the id"
            + ("" if get_token() else ", or set HF_TOKEN to a token that may read it")
        ) from error
    except RevisionNotFoundError as error:
        raise PrunebenchError(
            f"{source.repo} has no revision {source.revision}: correct 'revision' in the catalog, or what follows @ "
            f"(commits are listed on {page(source)}/commits/main)"
        ) from error
    except OfflineModeIsEnabled as error:
        raise HubUnavailableError(
            "HF_HUB_OFFLINE is set, so the hub cannot be asked",
            source.repo,
            ": unset it where this runs, or fetch the assets first where there is a network",
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise PrunebenchError(f"{hub} refuses {source.repo} ({status}): {_consent(source)}") from error
        raise PrunebenchError(f"{hub} answers {status} for {source.repo}. Try again later") from error
    except (LocalEntryNotFoundError, httpx2.ConnectError, httpx2.TimeoutException, httpx2.ProxyError) as error:
        raise HubUnavailableError(
            f"cannot reach {hub}",
            source.repo,
            f" ({error.__cause__ or error}): check the network, proxies and HF_ENDPOINT. Files that have arrived are "
            "kept: run again, or with HF_HUB_OFFLINE=1 if all have arrived",
        ) from error
    except (httpx2.HTTPError, OSError, RuntimeError) as error:  # hf_xet raises RuntimeError
        raise PrunebenchError(
            f"the download of {source.repo} broke off ({error}). Files that have arrived are kept: run again"
        ) from error


def _consent(source: HubSource) -> str:
    accept = f"accept its conditions on {page(source)}"
    token = f"{constants.ENDPOINT}/settings/tokens"
    if get_token():
        return f"{accept} with the account of your token (HF_TOKEN, or that of `hf auth login`), or renew it on {token}"
    return f"{accept}, make a token on {token}, and set HF_TOKEN to it"


def page(source: HubSource) -> str:
    """The address of the repository for people."""
    return f"{constants.ENDPOINT}/{'datasets/' if source.repo_type == 'dataset' else ''}{source.repo}"
