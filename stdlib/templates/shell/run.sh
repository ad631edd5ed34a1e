#!/bin/sh
# Two commands of Otto's stand for the invocation file and the control socket:
# `otto-step-parameter NAME` prints a parameter or a setting, `otto-step-capture NAME VALUE` captures.
set -eu

name=$(otto-step-parameter name)
text="$(otto-step-parameter greeting), $name!"
if [ "$(otto-step-parameter loud)" = true ]; then
    text=$(printf '%s' "$text" | tr '[:lower:]' '[:upper:]')
fi
printf '%s\n' "$text"
otto-step-capture greeted "$name"
