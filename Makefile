# make demo : install, then speak into demo/ (VOICE=file.wav takes your own recording as the second voice)
# make test : format, lint, types, tests

PYTHON ?= python3
VENV ?= .venv
VOICE ?=
ENGLISH ?= The birch canoe slid on the smooth planks, and nobody in the village noticed.
SPOKEN := This recording is a few seconds long, and it lends its voice to the next two sentences.
MANDARIN ?= 你好，今天的天气真不错，我们一起去公园散步吧。

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SAMPLE := $(or $(VOICE),demo/sample.wav)

# Large memory pages for malloc (glibc 2.35 and later; others ignore it): docs/training.md, "Speed on a virtual machine".
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: demo test install clean
.DELETE_ON_ERROR:

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "voxray needs Python 3.10 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@mkdir -p demo
	$(BIN)/voxray say "$(ENGLISH)" -o demo/english.wav
	$(BIN)/voxray say "$(MANDARIN)" -o demo/mandarin.wav
	@test -n "$(VOICE)" || $(BIN)/voxray say "$(SPOKEN)" --seed 7 -o $(SAMPLE)
	$(BIN)/voxray say "$(ENGLISH)" --voice "$(SAMPLE)" -o demo/english-cloned.wav
	$(BIN)/voxray say "$(MANDARIN)" --voice "$(SAMPLE)" -o demo/mandarin-cloned.wav
	@echo "Listen: demo/english.wav demo/mandarin.wav demo/english-cloned.wav demo/mandarin-cloned.wav"

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error
	$(BIN)/pytest -m "not slow"

clean:
	rm -rf $(VENV) demo
