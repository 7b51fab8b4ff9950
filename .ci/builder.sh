# Sourced by images and base-image: which image builder this machine has, and the few words they say to it.
# Sets: builder (docker, podman or buildah), cache, work (a private folder that goes away with the script).

cache=${SLIPWAY_CACHE:-$HOME/.cache/slipway}/images
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
remove_work() { # an interrupted debootstrap leaves mounts behind
    findmnt --raw --noheadings --output TARGET | grep -F "$work/" | sort -r | xargs -r umount || true
    rm -rf --one-file-system "$work"
}
trap remove_work EXIT

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }
say() { echo "$*" >&2; }

find_builder() { # a docker client without a daemon is no builder
    if [ -n "${SLIPWAY_BUILDER:-}" ]; then
        echo "$SLIPWAY_BUILDER"
    elif timeout 10 docker info >/dev/null 2>&1; then
        echo docker
    elif timeout 10 podman info >/dev/null 2>&1; then
        echo podman
    elif command -v buildah >/dev/null; then
        echo buildah
    else
        fail "no image builder found: expected docker with its daemon, podman or buildah. On Debian: sudo apt-get install buildah"
    fi
}

builder=$(find_builder)
if [ "$builder" = buildah ]; then
    # chroot isolation needs neither a daemon nor user namespaces.
    export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
fi

engine() { # docker, podman or buildah with its storage
    if [ "$builder" = buildah ]; then
        buildah --root "$cache/storage" --runroot "$cache/run" "$@"
    else
        "$builder" "$@"
    fi
}

build_image() { # OPTION… CONTEXT; the id goes to $work/id
    case $builder in
        docker) DOCKER_BUILDKIT=1 docker build --quiet --iidfile "$work/id" "$@" >/dev/null ;;
        podman) podman build --quiet --layers --iidfile "$work/id" "$@" >/dev/null ;;
        buildah) engine build --quiet --layers --iidfile "$work/id" "$@" >/dev/null ;;
    esac
}

image_exists() { # REFERENCE, in the local store
    case $builder in
        buildah) engine inspect --type image "$1" >/dev/null 2>&1 ;;
        *) engine image inspect "$1" >/dev/null 2>&1 ;;
    esac
}

make_secrets() { # the user's pip settings and certificates, as files for --secret
    local bundle
    bundle=$(python3 .ci/pip_settings.py cert)
    if [ -n "$bundle" ]; then
        [ -r "$bundle" ] || fail "the certificate bundle of your pip settings (cert, PIP_CERT or SSL_CERT_FILE) is not readable: $bundle"
        cp "$bundle" "$work/ca"
        python3 .ci/pip_settings.py pip-conf --ca /run/secrets/ca > "$work/pip"
    else
        : > "$work/ca"
        python3 .ci/pip_settings.py pip-conf > "$work/pip"
    fi
}
