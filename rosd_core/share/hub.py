"""Sending a folder to the hub."""

from pathlib import Path

from rosd_core.errors import RosdError


def check_name(name: str) -> None:
    """Raises RosdError for what is no name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise RosdError(f"{name!r} is no name on the hub: {str(error).splitlines()[0]}") from None


def upload(name: str, folder: Path, public: bool) -> str:
    """Make the data set `name` unless it is there, and replace its files by those of the folder;
    its address. Raises RosdError without a token, a network or the permission.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise RosdError(
            "there is no token of the hub; log in with `hf auth login`, or set HF_TOKEN. "
            "`--dry-run FOLDER` writes what would be pushed."
        )
    api = HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=folder, repo_type="dataset",
            commit_message="Tables of a run of ROSD", delete_patterns=["*.parquet"],
        )  # fmt: skip
    except Exception as error:  # of the hub, of its HTTP library, of the network
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise RosdError(
            f"{name}: it could not be pushed: {told[0]} Nothing here has changed; try again, or "
            "write a folder with --dry-run."
        ) from None
    return f"{api.endpoint}/datasets/{name}"
