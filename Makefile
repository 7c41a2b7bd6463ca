# lazymig: build, gates and tests. `make test` is all that a fresh Debian 12
# with Go needs; everything it fetches or builds goes into .cache/.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO       ?= go
PREFIX   ?= /usr/local
# What is made goes to bin, build and dist below here.
OUT      ?= .
FUZZTIME ?= 20s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS  := -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# The day on the manual pages, so that the same commit makes the same pages.
DAY      ?= $(shell git log -1 --format=%cd --date=short 2>/dev/null || date -u +%F)
CACHE    := $(CURDIR)/.cache
BIN      := $(CACHE)/bin

# In a checkout that belongs to another user, as CI often has it, git tells
# nothing and go build would fail for want of the revision.
export GOFLAGS += -buildvcs=false

# Where the tests keep the guest's kernel and image.
export LAZYMIG_CACHE ?= $(CACHE)/guest

# Tools, each at one version; the version is part of the file name.
GOFUMPT     := $(BIN)/gofumpt-0.12.0
STATICCHECK := $(BIN)/staticcheck-0.8.2
GOLANGCI    := $(BIN)/golangci-lint-2.15.0
GOTESTSUM   := $(BIN)/gotestsum-1.13.0
NFPM        := $(BIN)/nfpm-2.43.4
# x/perf has no tags: the version of a commit.
BENCHSTAT   := $(BIN)/benchstat-0.0.0-20260908200009-22c9c6c9d4da
TOOLS       := $(GOFUMPT) $(STATICCHECK) $(GOLANGCI) $(GOTESTSUM) $(NFPM) $(BENCHSTAT)

# -race needs cgo; the product itself has none.
GOTEST := CGO_ENABLED=1 $(GOTESTSUM) --format pkgname-and-test-fails -- -race -shuffle=on

# The packages whose tests boot guests and measure times: one at a time, since
# two emulated guests on two cores would measure each other.
GUESTS := ./cmd/... ./bench/...
OTHERS  = $$($(GO) list ./... | grep -v -e '/cmd/' -e '/bench')

.NOTPARALLEL:
.PHONY: build demo demo-text man completions install uninstall deb test check fuzz deps tools e2e-full \
	bench bench-full bench-faults bench-paths bench-migrate bench-metal bench-metal-hosts bench-cache bench-tools bench-compare clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o '$(OUT)/bin/lazymig' ./cmd/lazymig

## demo: shows a migration on this machine, no root needed. DEMO='--break-link 5s' adds flags.
demo: build
	@'$(OUT)/bin/lazymig' demo $(DEMO)

## demo-text: records it for docs/demo.txt.
demo-text: build
	'$(OUT)/bin/lazymig' demo --break-link 5s > docs/demo.txt.new
	mv docs/demo.txt.new docs/demo.txt

## man: the manual pages, made from the commands.
man: build
	rm -rf '$(OUT)/build/man'
	'$(OUT)/bin/lazymig' man --date '$(DAY)' '$(OUT)/build/man'

completions: build
	mkdir -p '$(OUT)/build/completions'
	for shell in bash zsh fish; do \
		'$(OUT)/bin/lazymig' completion $$shell > '$(OUT)/build/completions/'$$shell; \
	done

# Where the parts go. Debian's zsh looks elsewhere for those of packages.
MAN_DIR  = $(PREFIX)/share/man/man1
BASH_DIR = $(PREFIX)/share/bash-completion/completions
ZSH_DIR  = $(PREFIX)/share/zsh/site-functions
FISH_DIR = $(PREFIX)/share/fish/vendor_completions.d
UNIT_DIR = $(PREFIX)/lib/systemd/system
UNIT    := lazymig-receive@.service

## install: the program, its pages and completions, and the systemd unit, below PREFIX (and DESTDIR).
install: build man completions
	install -D -m 0755 '$(OUT)/bin/lazymig' '$(DESTDIR)$(PREFIX)/bin/lazymig'
	install -d '$(DESTDIR)$(MAN_DIR)'
	install -m 0644 '$(OUT)'/build/man/*.1 '$(DESTDIR)$(MAN_DIR)/'
	install -D -m 0644 '$(OUT)/build/completions/bash' '$(DESTDIR)$(BASH_DIR)/lazymig'
	install -D -m 0644 '$(OUT)/build/completions/zsh' '$(DESTDIR)$(ZSH_DIR)/_lazymig'
	install -D -m 0644 '$(OUT)/build/completions/fish' '$(DESTDIR)$(FISH_DIR)/lazymig.fish'
	sed 's,@BIN@,$(PREFIX)/bin,' 'internal/install/$(UNIT)' > '$(OUT)/build/$(UNIT)'
	install -D -m 0644 '$(OUT)/build/$(UNIT)' '$(DESTDIR)$(UNIT_DIR)/$(UNIT)'

## uninstall: takes away what install put there. State, identities and guests stay.
uninstall:
	rm -f '$(DESTDIR)$(PREFIX)/bin/lazymig' '$(DESTDIR)$(MAN_DIR)'/lazymig{,-*}.1 '$(DESTDIR)$(BASH_DIR)/lazymig' \
		'$(DESTDIR)$(ZSH_DIR)/_lazymig' '$(DESTDIR)$(FISH_DIR)/lazymig.fish' '$(DESTDIR)$(UNIT_DIR)/$(UNIT)'

# A version of Debian begins with a digit, and what is behind a dash is the packager's.
DEB_VERSION = $(shell echo '$(VERSION)' | sed -E 's/^v([0-9])/\1/; s/^([^0-9]|[0-9a-f]{7,}($$|-))/0~git\1/; s/-/+/g')

## deb: dist/lazymig_VERSION_amd64.deb
deb: $(NFPM)
	rm -rf '$(OUT)/build/deb'
	$(MAKE) install LDFLAGS='$(LDFLAGS) -s -w' PREFIX=/usr DESTDIR='$(abspath $(OUT))/build/deb' ZSH_DIR=/usr/share/zsh/vendor-completions
	install -D -m 0644 internal/install/copyright '$(OUT)/build/deb/usr/share/doc/lazymig/copyright'
	install -m 0644 CHANGELOG.md '$(OUT)/build/deb/usr/share/doc/lazymig/changelog'
	install -D -m 0644 internal/install/receive.conf '$(OUT)/build/deb/usr/share/doc/lazymig/examples/web1.conf'
	gzip -9n '$(OUT)/build/deb/usr/share/doc/lazymig/changelog' '$(OUT)'/build/deb/usr/share/man/man1/*.1
	mkdir -p '$(OUT)/dist'
	VERSION='$(DEB_VERSION)' STAGE='$(OUT)/build/deb' SOURCE_DATE_EPOCH="$$(date -u -d '$(DAY)' +%s)" \
		$(NFPM) package --packager deb --config internal/install/nfpm.yaml --target '$(OUT)/dist/lazymig_$(DEB_VERSION)_amd64.deb'

## test: what CI runs: set-up, the gates, every test.
test: deps check $(GOTESTSUM)
	$(GOTEST) -timeout 10m $(OTHERS)
	$(GOTEST) -timeout 20m -p 1 $(GUESTS)

## check: the gates that need no virtual machine.
check: $(GOFUMPT) $(STATICCHECK) $(GOLANGCI)
	@unformatted=$$($(GOFUMPT) -l $$(find . -name '*.go' -not -path './.cache/*')); \
	if [ -n "$$unformatted" ]; then echo "run gofumpt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) ./...
	$(GOLANGCI) run ./...
	$(GO) mod tidy -diff

## e2e-full: the migration tests in full length (20 runs where CI has 3, and so on).
e2e-full: deps $(GOTESTSUM)
	LAZYMIG_FULL=1 $(GOTEST) -timeout 120m -p 1 $(GUESTS)

## fuzz: every fuzz target for FUZZTIME.
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

# Where measurements leave their results.
BENCH_OUT ?= $(OUT)/build/bench
MOVES      = '$(OUT)/bin/lazymig' bench migrate --out

## bench: measures lazymig beside what one would use instead, in three minutes, and reports. Nothing is judged. Needs root.
bench: build bench-tools
	mkdir -p '$(BENCH_OUT)'
	rm -f '$(BENCH_OUT)'/*-quick.jsonl
	'$(OUT)/bin/lazymig' bench faults --quick --json > '$(BENCH_OUT)/faults-quick.jsonl'
	'$(OUT)/bin/lazymig' bench paths --quick --json > '$(BENCH_OUT)/paths-quick.jsonl'
	$(MOVES) '$(BENCH_OUT)/migrations-quick.jsonl' --quick
	'$(OUT)/bin/lazymig' bench report '$(BENCH_OUT)'/*-quick.jsonl --out '$(BENCH_OUT)/quick'
	@echo 'see $(BENCH_OUT)/quick/report.md'

## bench-full: the same with all settings, in two hours, for a machine that does nothing else. Needs root; goes on where it was stopped.
bench-full: bench-faults bench-paths bench-migrate
	'$(OUT)/bin/lazymig' bench report '$(BENCH_OUT)'/*-full.jsonl --out '$(BENCH_OUT)/full'
	@echo 'see $(BENCH_OUT)/full/report.md'

# Each part alone. What is in the results already is not measured again.
bench-faults: build bench-tools
	mkdir -p '$(BENCH_OUT)'
	test -s '$(BENCH_OUT)/faults-full.jsonl' || { \
		'$(OUT)/bin/lazymig' bench faults --json > '$(BENCH_OUT)/faults-full.new' && \
		mv '$(BENCH_OUT)/faults-full.new' '$(BENCH_OUT)/faults-full.jsonl'; }

bench-paths: build bench-tools
	mkdir -p '$(BENCH_OUT)'
	test -s '$(BENCH_OUT)/paths-full.jsonl' || { \
		'$(OUT)/bin/lazymig' bench paths --json > '$(BENCH_OUT)/paths-full.new' && \
		mv '$(BENCH_OUT)/paths-full.new' '$(BENCH_OUT)/paths-full.jsonl'; }

bench-migrate: build
	mkdir -p '$(BENCH_OUT)'
	$(MOVES) '$(BENCH_OUT)/migrations-full.jsonl' --factors guest,tls --repeat 2
	$(MOVES) '$(BENCH_OUT)/migrations-full.jsonl' --factors link,rtt,loss --repeat 2 --techniques lazymig,postcopy-preempt
	$(MOVES) '$(BENCH_OUT)/migrations-full.jsonl' --bandwidth none --repeat 3 --techniques lazymig,present
	$(MOVES) '$(BENCH_OUT)/migrations-full.jsonl' --repeat 5

## bench-cache: what caches are worth, beside QEMU, in half an hour. Needs root; goes on where it was stopped.
bench-cache: build bench-tools
	mkdir -p '$(BENCH_OUT)'
	$(MOVES) '$(BENCH_OUT)/cache.jsonl' --guest tenth --factors cache --techniques lazymig,postcopy,postcopy-preempt --repeat 3
	'$(OUT)/bin/lazymig' bench report '$(BENCH_OUT)/cache.jsonl' --out '$(BENCH_OUT)/cache'
	@echo 'see $(BENCH_OUT)/cache/report.md'

# The flags of bench-metal beside its hosts; lazymig bench migrate --help has all.
METAL ?= --factors guest --repeat 3

## bench-metal: HOSTS="root@a root@b": the same between two machines with KVM, which ssh reaches as root without a question.
bench-metal: bench-metal-hosts build bench-tools
	mkdir -p '$(BENCH_OUT)'
	'$(OUT)/bin/lazymig' bench migrate --hosts "$$(echo $(HOSTS) | tr ' ' ,)" $(METAL) --out '$(BENCH_OUT)/metal.jsonl'
	'$(OUT)/bin/lazymig' bench report '$(BENCH_OUT)/metal.jsonl' --out '$(BENCH_OUT)/metal'
	@echo 'see $(BENCH_OUT)/metal/report.md'

bench-metal-hosts:
	@test "$$(echo '$(HOSTS)' | wc -w)" = 2 || { echo 'name the two machines: make bench-metal HOSTS="root@a root@b" [METAL="FLAGS"]'; exit 2; }

# The programs beside lazymig that only measurements need: one has a large
# library, the other cgo. A lazymig without them measures and reports less, and
# says so.
bench-tools:
	CGO_ENABLED=0 $(GO) build -trimpath -o '$(OUT)/bin/lazymig-bench-plot' ./bench/peers/plotter
	@rm -f '$(OUT)/bin/lazymig-bench-serial'
	@if command -v $$($(GO) env CC) > /dev/null; then \
		CGO_ENABLED=1 $(GO) build -trimpath -o '$(OUT)/bin/lazymig-bench-serial' ./bench/peers/serialhandler; \
	else \
		echo 'no C compiler: the serial handler of userfaultfd-go is left out'; \
	fi

# The micro-benchmarks that bench-compare runs, how often, and for how long.
MICRO     ?= ./uffd ./quictransport ./pagecache ./internal/migrate ./internal/relay
COUNT     ?= 6
BENCHTIME ?= 0.3s

## bench-compare: the micro-benchmarks of BASE=REVISION and of this tree, in turns, with benchstat.
bench-compare: $(BENCHSTAT)
	@test -n '$(BASE)' || { echo 'say what to compare with: make bench-compare BASE=REVISION'; exit 2; }
	mkdir -p '$(BENCH_OUT)'
	rm -f '$(BENCH_OUT)'/{base,this}.txt
	base='$(abspath $(BENCH_OUT))/base'; results='$(abspath $(BENCH_OUT))'; \
	git worktree add --force --detach "$$base" '$(BASE)'; \
	trap 'git worktree remove --force "$$base"' EXIT; \
	for i in $$(seq $(COUNT)); do \
		(cd "$$base" && $(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) $(MICRO)) >> "$$results/base.txt"; \
		$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) $(MICRO) >> "$$results/this.txt"; \
	done
	$(BENCHSTAT) '$(BENCH_OUT)/base.txt' '$(BENCH_OUT)/this.txt'

## deps: the programs that the tests call. Installs as root, else says what is missing.
deps:
	@.ci/deps

tools: $(TOOLS)

clean:
	rm -rf bin build dist .cache
	$(GO) clean -testcache

# install-tool,PACKAGE,VERSION: build it and put it at the target.
define install-tool
	mkdir -p $(BIN)/.new
	GOBIN=$(BIN)/.new GOFLAGS= $(GO) install $(1)@v$(2)
	mv $(BIN)/.new/$(notdir $(1)) $@
endef

$(GOFUMPT):
	$(call install-tool,mvdan.cc/gofumpt,0.12.0)
$(STATICCHECK):
	$(call install-tool,honnef.co/go/tools/cmd/staticcheck,0.8.2)
$(GOLANGCI):
	$(call install-tool,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,2.15.0)
$(GOTESTSUM):
	$(call install-tool,gotest.tools/gotestsum,1.13.0)
$(NFPM):
	$(call install-tool,github.com/goreleaser/nfpm/v2/cmd/nfpm,2.43.4)
$(BENCHSTAT):
	$(call install-tool,golang.org/x/perf/cmd/benchstat,0.0.0-20260908200009-22c9c6c9d4da)
