# Every target does its own set-up on a fresh Debian 12 as root with git, python3 and make.
VENV := .venv
PYTHON := $(VENV)/bin/python
BUILD := $(VENV)/bin/musllinux-build
WITH_LAB := VENV=$(VENV) tests/lab/with_lab
PYYAML := 6.0.3

SURVEYED := numpy pandas scipy matplotlib pillow lxml cryptography grpcio pyzmq psycopg2-binary pyyaml markupsafe aiohttp \
  pydantic-core orjson uvloop psutil shapely pyarrow cffi regex bcrypt

.PHONY: bench-auditor bench-foreign bench-wheels demo test unit laws lint lint-workflows fuzz nightly nightly-images survey agreement clean

# The main job on a real project: PyYAML with libyaml grafted, for both architectures and all Pythons of the images.
demo: $(VENV)/ready build/pyyaml-$(PYYAML).tar.gz
	$(WITH_LAB) $(BUILD) build/pyyaml-$(PYYAML).tar.gz \
	  --arch x86_64 --arch aarch64 --output wheelhouse \
	  --before-all "apk add yaml-dev" --environment PYYAML_FORCE_LIBYAML=1 \
	  --test-command "python -c \"import yaml; assert yaml.load('a: [1]', Loader=yaml.CSafeLoader) == {'a': [1]}\""

build/pyyaml-$(PYYAML).tar.gz: | $(VENV)/ready
	$(PYTHON) -m pip download --quiet --no-deps --no-binary=:all: --dest build pyyaml==$(PYYAML)

test: lint unit laws fuzz
	$(WITH_LAB) tests/lab/with_packages openssh-server openssh-client -- \
	  $(PYTHON) -m pytest tests/contract tests/integration -m "not nightly" --durations=10

unit: $(VENV)/ready
	$(PYTHON) -m pytest -q tests/unit

# What holds for any input: properties, planted defects, hostile archives and objects.
laws: $(VENV)/ready
	$(PYTHON) -m pytest -q tests/laws

# Mutated wheels, objects, databases and evidence: docs/fuzz.md.
COUNT := 20000
SEED := 1
fuzz: $(VENV)/ready
	$(PYTHON) -m tests.fuzz --count $(COUNT) --seed $(SEED)

# The long suites, and what they found: docs/nightly.md; all images, and docs/benchmarks/images.md about them.
nightly: $(VENV)/ready
	VENV=$(VENV) tests/nightly docs/nightly.md

# The images' part of it alone.
nightly-images: $(VENV)/ready
	MUSLLINUX_LAB_ALL=1 $(WITH_LAB) tests/nightly-images docs/benchmarks/images.md

lint: $(VENV)/ready
	$(VENV)/bin/ruff format --check -q . && $(VENV)/bin/ruff check -q . && $(VENV)/bin/mypy
	$(BUILD) policy check --quiet
	$(VENV)/bin/zizmor --offline --no-progress --quiet .

# actionlint is a program of another language; CI fetches it by its hash.
ACTIONLINT := actionlint
lint-workflows:
	$(ACTIONLINT)

# Popular published wheels for all architectures, audited: docs/survey.md, and docs/survey.html with charts.
survey: $(VENV)/ready
	mkdir -p build
	COLUMNS=110 $(BUILD) survey $(SURVEYED) --json-file build/survey.json --html docs/survey.html > build/survey.txt || test $$? -eq 1
	{ sed '/^<!-- table -->$$/q' docs/survey.md; printf '\nMade on %s.\n\n```\n' "$$(date -u +%F)"; \
	  cat build/survey.txt; printf '```\n'; } > build/survey.md
	mv build/survey.md docs/survey.md

# Our verdicts against the real loaders of every Alpine in the lab folder; writes docs/agreement.md.
agreement: $(VENV)/ready
	MUSLLINUX_LAB_ENGINE_ONLY=1 MUSLLINUX_LAB_ARCHS="x86_64 aarch64 i686 ppc64le s390x armv7l" \
	  $(WITH_LAB) $(PYTHON) -m tests.agreement

$(VENV)/ready: pyproject.toml .ci/venv
	.ci/venv $(VENV)
	touch $@

# Ours beside auditwheel on five published wheels: docs/benchmarks/auditor.md.
bench-auditor: $(VENV)/ready
	$(PYTHON) benchmarks/auditor.py

# The same projects natively, under plain qemu, and accelerated: docs/benchmarks/foreign.md. It takes hours; what is
# measured is kept in docs/benchmarks/foreign.json, and FOREIGN="--project kiwisolver --mode full" does a part of it.
FOREIGN :=
bench-foreign: $(VENV)/ready
	MUSLLINUX_LAB_ALL=1 $(WITH_LAB) $(PYTHON) benchmarks/foreign.py $(FOREIGN) --page docs/benchmarks/foreign.md

# One wheel beside cibuildwheel, eight wheels with -j 2, and the same again: docs/benchmarks/wheels.md.
bench-wheels: $(VENV)/ready
	MUSLLINUX_LAB_ARCHS="x86_64 aarch64 i686" $(WITH_LAB) $(PYTHON) benchmarks/wheels.py

clean:
	rm -rf $(VENV) build dist wheelhouse
