# The targets that people and CI run. `make test` on a fresh machine (Rust toolchain, make, apt, root)
# installs what the tests need and runs all of them.

CARGO ?= cargo
TARGET := x86_64-unknown-linux-gnu
DIST := target/$(TARGET)/dist/keepgate

.PHONY: help test setup scan websocket idle bodies schemathesis lint static dist bench bench-full bench-edge bench-setup storm torture fuzz month deny docs fmt

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

test: setup ## Install what the tests need, then run all of them
	$(CARGO) test --workspace

setup: ## Install the peers that tests speak to (Debian packages; needs root only if one is missing)
	sh tests/setup.sh

schemathesis: ## Ask a running gate all that docs/openapi.json allows, and more (Python 3; installs schemathesis)
	$(CARGO) build
	tests/schemathesis.sh

scan: ## slowhttptest, sslscan and testssl.sh judge a running gate (Debian packages; about five minutes)
	sh tests/tools/setup.sh
	$(CARGO) build
	tests/tools/scan.py target/$(TARGET)/debug/keepgate

websocket: ## The Autobahn test suite through a running gate, both ways (Python 2.7; about ten minutes)
	$(CARGO) build
	tests/tools/websocket.py target/$(TARGET)/debug/keepgate

bodies: ## 5 GB up and down through a release gate, over HTTP/1.1 and HTTP/2: its memory at its highest
	$(CARGO) build --release
	KEEPGATE_BIN=$(CURDIR)/target/$(TARGET)/release/keepgate KEEPGATE_BODY_MIB=5120 $(CARGO) test --test it huge_bodies -- --nocapture

idle: bench-setup $(DIST) ## What 10,000 TLS connections at rest weigh, beside nginx
	python3 bench/idle.py $(DIST)

lint: ## Formatting, clippy without warnings, the house rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --test architecture
	! $(CARGO) tree --workspace --prefix none --format '{p}' | grep -E '^(ring|openssl|openssl-sys|native-tls|rsa|chrono) '

static: ## The release binary is static and lives through the whole story in an empty root
	$(CARGO) build --release
	file target/$(TARGET)/release/keepgate | grep -q 'static-pie linked'
	KEEPGATE_BIN=$(CURDIR)/target/$(TARGET)/release/keepgate $(CARGO) test --test it chroot

dist: bench-setup ## The binary to ship: fat LTO, stripped, optimised by a profile of what a node does (about eight minutes)
	packaging/dist.sh

# What is measured: the one that `make dist` left, so that all figures are of one binary. `make dist` makes it anew.
$(DIST): | bench-setup
	packaging/dist.sh

bench: bench-setup $(DIST) ## Figures of the binary to ship beside their references, in the same run (short)
	bench/run

bench-full: bench-setup $(DIST) ## The same, longer
	BENCH_ROUNDS=9 BENCH_SECONDS=4 BENCH_LOGIN_SECONDS=8 BENCH_ROTATION_SECONDS=8 bench/run

bench-edge: bench-setup $(DIST) ## Keepgate, nginx, HAProxy and Caddy at the edge, each plain and with authentication; draws docs/edge.svg (12 min)
	python3 bench/edge.py $(DIST) --svg docs/edge.svg

storm: bench-setup $(DIST) ## A storm of logins and an attack by 1,000 addresses: p99 beside quiet, memory, guesses
	python3 bench/storm.py $(DIST)

bench-setup:
	sh bench/setup.sh

torture: setup ## The long forms of the disk model and the kill test
	KEEPGATE_TORTURE_IMAGES=200000 $(CARGO) test --release --lib journal
	KEEPGATE_KILL_ROUNDS=1000 $(CARGO) test --release --test it kill

month: ## A simulated month with more traffic than in `make test`; draws docs/month.svg
	KEEPGATE_MONTH_VISITS=5 KEEPGATE_MONTH_SVG=$(CURDIR)/docs/month.svg $(CARGO) test --lib simulated_month

fuzz: ## The fuzz targets, FUZZ_SECONDS (600) each; see fuzz/README.md
	fuzz/run

deny: ## Licences, banned crates, sources (cargo-deny)
	cargo deny check bans licenses sources

docs: ## Write the pages that are made from the code
	UPDATE_DOCS=1 $(CARGO) test --lib is_up_to_date
	UPDATE_DOCS=1 $(CARGO) test --test it is_up_to_date

fmt: ## Format everything
	$(CARGO) fmt --all
