# make demo     : install what speaking needs, then speak into demo/ (VOICE=file.wav: your own recording as the second voice)
# make test     : format, lint, types, the fast tests, then a chosen few of the slow ones
# make test-all : the same with every slow test

PYTHON ?= python3
VENV ?= .venv
VOICE ?=
# What the tests need beside the base package; constraints.txt pins all of it.
TEST_EXTRAS ?= dev eval explain gptsovits postgres provenance serve small train studio
ENGLISH ?= The birch canoe slid on the smooth planks, and nobody in the village noticed.
SPOKEN := This recording is a few seconds long, and it lends its voice to the next two sentences.
MANDARIN ?= 你好，今天的天气真不错，我们一起去公园散步吧。

BIN := $(VENV)/bin
BASE := $(VENV)/.installed
TESTED := $(VENV)/.installed-for-tests
SAMPLE := $(or $(VOICE),demo/sample.wav)

# Without a GPU, torch's CPU build saves gigabytes: name its package index in PIP_EXTRA_INDEX_URL.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Large memory pages for malloc (glibc 2.35 and later; others ignore it): docs/training.md, "Speed on a virtual machine".
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: demo test test-all check install clean
.DELETE_ON_ERROR:

install: $(BASE)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "voxray needs Python 3.10 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

empty :=
space := $(empty) $(empty)
comma := ,
$(TESTED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[$(subst $(space),$(comma),$(strip $(TEST_EXTRAS)))]'
	@touch $@ $(BASE)

# The demo leaves nothing in the home folder: its records lie beside its sounds.
demo: export VOXRAY_HOME := $(CURDIR)/demo/home
demo: $(BASE)
	@mkdir -p demo
	$(BIN)/voxray say "$(ENGLISH)" -o demo/english.wav
	$(BIN)/voxray say "$(MANDARIN)" -o demo/mandarin.wav
	@test -n "$(VOICE)" || $(BIN)/voxray say "$(SPOKEN)" --seed 7 -o $(SAMPLE)
	$(BIN)/voxray say "$(ENGLISH)" --voice "$(SAMPLE)" -o demo/english-cloned.wav
	$(BIN)/voxray say "$(MANDARIN)" --voice "$(SAMPLE)" -o demo/mandarin-cloned.wav
	@echo "Listen: demo/english.wav demo/mandarin.wav demo/english-cloned.wav demo/mandarin-cloned.wav"

check: $(TESTED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error

test: check
	$(BIN)/pytest -m "not slow or chosen"

test-all: check
	$(BIN)/pytest

clean:
	rm -rf $(VENV) demo
