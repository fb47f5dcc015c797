# `make` lists what there is. Every step does only what is still missing.

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-long portable deb tarball bench bench-tiers bench-serve bench-batch bench-dictate fmt lint doc clean
SHELL := /bin/bash

# Models, llama-server and logs: the folder that bestbox itself uses.
export BESTBOX_CACHE ?= $(if $(filter Darwin,$(shell uname -s)),$(HOME)/Library/Caches,$(or $(XDG_CACHE_HOME),$(HOME)/.cache))/bestbox

# Arguments for `cargo test`, such as TEST="audio::" or TEST="-- --nocapture".
TEST ?=
# Cargo features of `make portable`, such as FEATURES=vulkan.
FEATURES ?=
# Arguments for `bestbox bench`.
BENCH ?=
SERVE_BENCH ?=
BATCH_BENCH ?=
DICTATE_BENCH ?=
TIERS_BENCH ?=

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: ## install what is needed: system packages, llama-server, bestbox (release), models
	@scripts/setup release

setup-dev: ## the same with the unoptimised build that the tests use
	@scripts/setup dev

demo: setup ## set up, then transcribe the samples with the embedded default
	@scripts/demo

test: setup-dev lint ## set up, then formatting, clippy and all tests (under 30 minutes with a warm cache)
	cargo test --locked --no-fail-fast $(TEST)

test-long: setup-dev lint ## the same tests at full size (hours)
	BESTBOX_LONG=1 cargo test --locked --no-fail-fast $(TEST)

# whisper-rs-sys hands GGML_* of the environment to CMake. Its own target folder: the variables count only when
# whisper.cpp is compiled, and cargo does not notice that they changed.
portable: ## binaries for any x86-64-v3 machine (AVX2), in target/portable/release
	@scripts/setup-apt
	GGML_NATIVE=OFF GGML_SSE42=ON GGML_AVX=ON GGML_AVX2=ON GGML_FMA=ON GGML_F16C=ON GGML_BMI2=ON \
	GGML_AVX_VNNI=OFF GGML_AVX512=OFF GGML_LLAMAFILE=ON RUSTFLAGS="-C target-cpu=x86-64-v3" \
	CARGO_TARGET_DIR=target/portable cargo build --locked --release $(if $(FEATURES),--features $(FEATURES))
	@scripts/setup-llama --portable target/portable/release/llama-server

# PACK=native packs the usual release build instead: for machines with this processor only.
PACK ?= portable
deb: $(if $(filter native,$(PACK)),setup,portable) ## a Debian package in target/package/out (PACK=native: only for this processor)
	@scripts/package deb $(PACK)

tarball: $(if $(filter native,$(PACK)),setup,portable) ## the same files as a tarball for ~/.local
	@scripts/package tarball $(PACK)

bench-serve: setup ## 64 clients for 2 minutes against the service (SERVE_BENCH="--seconds 30" for arguments)
	python3 bench/serve_load.py $(SERVE_BENCH)

bench: setup ## measure speed and accuracy on this machine, beside its peers (BENCH="..." for arguments)
	@bench/setup-peers >/dev/null
	target/release/bestbox bench $(BENCH)

bench-tiers: setup ## one model against two tiers, tens of minutes (TIERS_BENCH="--profile seed" for another profile)
	target/release/bestbox $(TIERS_BENCH) bench tiers --repeat 3 --html target/tiers.html

bench-batch: setup ## a folder through bestbox batch, whisper-cli and faster-whisper (BATCH_BENCH="--files 6" for arguments)
	@bench/setup-peers faster-whisper >/dev/null
	@bench/setup-whisper-cli >/dev/null
	python3 bench/batch.py $(BATCH_BENCH)

bench-dictate: setup ## from the release of the key to the text, beside faster-whisper and whisper.cpp (DICTATE_BENCH="--repeat 2" for arguments)
	@bench/setup-peers >/dev/null
	target/release/bestbox bench dictate $(DICTATE_BENCH)

fmt: ## format the code
	cargo fmt

lint: ## formatting and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

doc: ## documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

clean: ## remove what was built here; the cache with its models stays (remove it by hand)
	cargo clean
	@echo "kept: $(BESTBOX_CACHE)"
