# SPDX-License-Identifier: MIT
# Two commands are all a newcomer needs: `make run` and `make test`. The build itself is meson's.
# All paths are relative, so that the folder may have any name.

BUILD ?= build
MESON_OPTIONS ?=

SOAK_ROUNDS ?= 10000

.PHONY: help run test build deps bench soak deb install clean

help:
	@echo 'make run     install what is missing, build, run the example, show the result'
	@echo 'make test    the same, for all tests'
	@echo 'make build   build into ./$(BUILD)'
	@echo 'make soak    kill a throw-away daemon $(SOAK_ROUNDS) times under load, and say what was lost'
	@echo 'make deb     build a Debian package into ./dist'
	@echo 'make bench   measure, side by side with what else there is (bench/README.md)'
	@echo 'make install DESTDIR=... install (meson install)'
	@echo 'make clean   remove ./$(BUILD) and ./dist'

run: build
	@scripts/run-example '$(BUILD)'

test: build
	@scripts/run-tests '$(BUILD)'

build: deps
	@scripts/build '$(BUILD)' $(MESON_OPTIONS)

deps:
	@scripts/install-deps

bench: build
	bench/run --build-dir '$(BUILD)'

soak: build
	'$(BUILD)/amlctl' doctor --chaos '$(SOAK_ROUNDS)'

deb:
	@scripts/make-deb dist

install: build
	meson install -C '$(BUILD)'

clean:
	rm -rf '$(BUILD)' build-chaos dist
