# lazymig: build, gates and tests. `make test` is all that a fresh Debian 12
# with Go needs; everything it fetches or builds goes into .cache/.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO       ?= go
PREFIX   ?= /usr/local
FUZZTIME ?= 20s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS  := -X main.version=$(VERSION) -X main.commit=$(COMMIT)
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
TOOLS       := $(GOFUMPT) $(STATICCHECK) $(GOLANGCI) $(GOTESTSUM)

# -race needs cgo; the product itself has none.
GOTEST := CGO_ENABLED=1 $(GOTESTSUM) --format pkgname-and-test-fails -- -race -shuffle=on

# The packages whose tests boot guests and measure times: one at a time, since
# two emulated guests on two cores would measure each other.
GUESTS := ./cmd/... ./bench/...
OTHERS  = $$($(GO) list ./... | grep -v -e '/cmd/' -e '/bench')

.NOTPARALLEL:
.PHONY: build test check install fuzz deps tools e2e-full clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/lazymig ./cmd/lazymig

install: build
	install -D -m 0755 bin/lazymig '$(DESTDIR)$(PREFIX)/bin/lazymig'

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

## deps: the programs that the tests call. Installs as root, else says what is missing.
deps:
	@.ci/deps

tools: $(TOOLS)

clean:
	rm -rf bin .cache
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
