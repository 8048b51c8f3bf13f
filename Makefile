# Leat needs Go and gcc (SQLite is C). `make help` lists the targets.

GO ?= go
# Modules of their own, so that nobody who imports Leat inherits what they need.
NESTED := bus/natstest bench
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: run
run: ## run the taxi demo: a generated city at 60x, until Ctrl+C
	$(GO) run ./taxi-demo

.PHONY: check
check: fmt vet test ## everything that CI runs: format, vet, all tests with the race detector

.PHONY: fmt
fmt: ## fail where a file is not as gofmt writes it
	@out=$$(gofmt -l .) || exit 1; \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

.PHONY: vet
vet: ## go vet, nested modules included
	$(GO) vet ./...
	@for m in $(NESTED); do (cd $$m && $(GO) vet ./...) || exit 1; done

.PHONY: test
test: ## all tests with the race detector, each benchmark once
	$(GO) test -race -timeout 12m ./...
	@for m in $(NESTED); do (cd $$m && $(GO) test -race -timeout 5m ./...) || exit 1; done
	$(GO) test -count 1 -timeout 5m -run TestRealTripsToTheCent ./taxi-demo
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 5m ./...

.PHONY: quick
quick: ## the tests without the race detector
	$(GO) test ./...

.PHONY: bench
bench: ## the benchmarks, six runs each, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count 6 ./...

.PHONY: compare
compare: ## Leat beside the raw driver and its peers, into bench/compare.json (SHORT=1 for a look in a minute, ONLY= for some workloads)
	cd bench && $(GO) run . $(if $(SHORT),-short) -workloads '$(ONLY)'

# What an experiment's long form runs: a seed repeats one, EXPERIMENT is a
# regular expression of test names, PKG narrows the packages.
EXPERIMENT ?= ^TestExperiment
PKG ?= ./...
FIGURES ?= $(CURDIR)/soak.jsonl

# No experiment is taken for one that passed where the name was misspelt.
MATCHED = $(GO) test -list '$(firstword $(subst /, ,$(EXPERIMENT)))' $(PKG) | grep -q '^Test' || { echo "no experiment matches EXPERIMENT=$(EXPERIMENT) in PKG=$(PKG)"; exit 2; }

.PHONY: soak
soak: ## the experiments behind the guarantees in their long form, with a table of figures (EXPERIMENT=, PKG= narrow it)
	@$(MATCHED)
	@rm -f $(FIGURES)
	@LEAT_EXPERIMENT=long LEAT_FIGURES=$(FIGURES) $(GO) test -count 1 -p 1 -timeout 6h -run '$(EXPERIMENT)' $(PKG); failed=$$?; \
	$(GO) run ./internal/experiment/report $(FIGURES) && exit $$failed

.PHONY: torture
torture: ## repeat an experiment: make torture EXPERIMENT=TestExperimentRandomKills SEED=7 [FORM=long]
	@test -n "$(SEED)" || { echo "give the seed that was printed: make torture EXPERIMENT=... SEED=..."; exit 2; }
	@echo "$(SEED)" | grep -qE '^[0-9]{1,20}$$' || { echo "SEED=$(SEED): give the whole number that was printed"; exit 2; }
	@test -z "$(FORM)" -o "$(FORM)" = long || { echo "FORM=$(FORM): there is FORM=long, and the short form without it"; exit 2; }
	@$(MATCHED)
	@LEAT_SEED=$(SEED) LEAT_EXPERIMENT=$(FORM) $(GO) test -count 1 -p 1 -v -timeout 6h -run '$(EXPERIMENT)' $(PKG); failed=$$?; \
	test $$failed = 0 && verdict=passed || verdict=FAILED; echo "$$verdict: EXPERIMENT=$(EXPERIMENT) SEED=$(SEED) FORM=$(FORM) PKG=$(PKG)"; exit $$failed

.PHONY: mutants
mutants: ## put bugs into a copy of the code, one at a time: the tests must catch each (ONLY=name for one, LIST=1 for their names)
	$(GO) run ./internal/mutants $(if $(LIST),-list) -only '$(ONLY)'

.PHONY: lint
lint: ## golangci-lint at a pinned version (built on first use)
	$(GO) run $(GOLANGCI) run ./...

.PHONY: fuzz
fuzz: ## every fuzz target for 30 seconds
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s $$pkg || exit 1; \
		done; \
	done
