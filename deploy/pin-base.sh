#!/bin/sh
# Resolve the base image's tag to its digest and print the build argument that pins it:
#
#   docker build -f deploy/Dockerfile $(deploy/pin-base.sh) -t farthing .
#
# A tag moves when the image is patched, but a digest never does. So build by digest, keep the printed line with the
# release, and run this again for the next release. An argument names an image other than the Dockerfile's.
set -eu

here=$(dirname "$0")
image=${1:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' "$here/Dockerfile")}
case $image in
    *@sha256:*) echo "--build-arg PYTHON_IMAGE=$image"; exit 0 ;;
    *:*) ;;
    *) echo "pin-base: '$image' has no tag; give one such as python:3.11-slim-bookworm" >&2; exit 2 ;;
esac

if ! digest=$(docker buildx imagetools inspect --format '{{json .Manifest.Digest}}' "$image" | tr -d '"'); then
    digest=
fi
case $digest in
    sha256:*) [ ${#digest} -eq 71 ] || digest= ;;
    *) digest= ;;
esac
if [ -z "$digest" ]; then
    echo "pin-base: the registry gave no digest for $image. Is docker buildx installed, and is the registry reachable?" >&2
    exit 1
fi
echo "--build-arg PYTHON_IMAGE=$image@$digest"
