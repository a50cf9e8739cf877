"""The app: a file or folder for each tab, each with `build(forge)`; app.py puts them together. No other package
imports gradio.

Handlers are thin: they turn widget values into a call of a service, and its result into widget values.
"""

import os

from modelforge.compat.gradio import load_without_stubs

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: nothing is sent without consent
os.environ["GRADIO_DEFAULT_CONCURRENCY_LIMIT"] = "16"  # `queue()` takes it too, but makes the server once more
load_without_stubs()
