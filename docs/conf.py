from __future__ import annotations

import os

from weft._version import __version__

project = "weft"
author = "The weft developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_ivar = True  # an attribute described in its class is not described again as a member

# A name that cannot be imported is an error where all is required, and left out elsewhere.
suppress_warnings = [] if os.environ.get("WEFT_REQUIRE_ALL") == "1" else ["autodoc.import_object"]

html_theme = "furo"
html_title = f"weft {version}"
html_copy_source = False
