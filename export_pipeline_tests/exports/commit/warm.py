"""Imported once by the server process of `children`, so that its forks begin at once; starts no thread."""

import importlib

import botocore.handlers
import botocore.loaders
import botocore.session
import botocore.utils
import pyarrow.parquet

from export_pipeline.exports.commit import publish_days
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.exports.commit.bench import make_store

# PyArrow imports pandas with the first list that becomes an array, where it is installed.
_MODULES = (importlib.import_module("pandas"), publish_days, pyarrow.parquet, botocore.handlers, botocore.utils)
_loader = botocore.loaders.create_loader()


def _shared_loader(search_path_string: str | None = None) -> botocore.loaders.Loader:
    """The one loader, which has read the description of S3 already: half a second for each client otherwise."""
    return _loader


botocore.session.create_loader = _shared_loader
_nowhere = children.Credentials("http://127.0.0.1:1", "us-east-1", "key", "secret")
make_store(_nowhere, "warming-up").close()
