#!/usr/bin/env bash
# Train the shipped prior further, and ship its weights whenever they have become better.
#
#   benchmarks/train_shipped.sh [--minutes N] [--limit STEPS] [flags of pigdm train]
#
# Starts from the shipped weights, or goes on with the run in out/shipped if there is
# one. At every checkpoint the averaged weights are scored beside the shipped ones on
# photos that are not trained on (benchmarks/ship_prior.py), and replace them in
# pigdm_jax/weights/shipped if they are better; committing them is up to you. Ends after N minutes
# (SIGTERM or Ctrl-C likewise), with everything kept. All at nice 19, on every core or
# GPU there is; on a GPU in bfloat16.
#
# --limit STEPS: so many steps and a checkpoint at their end, to try it.
# Photos come from packed/photos.zip and packed/evaluation/, made from ../shared/data
# the first time. On a GPU without ../shared: make them here, small enough to carry, by
#   MEGABYTES=45 RUN=out/try benchmarks/train_shipped.sh --limit 2
# take packed/ along, and run there
#   benchmarks/train_shipped.sh --minutes 20 --batch 32 --lr 4e-4
# which goes on where it was if it is called again; bring pigdm_jax/weights/shipped back.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
data=${DATA:-../shared/data} run=${RUN:-out/shipped}
minutes=100000 save=500 extra=()
while (($#)); do
  case $1 in
  --minutes) minutes=$2 && shift 2 ;;
  --limit) save=$2 extra+=(--steps "$2") && shift 2 ;;
  *) extra+=("$1") && shift ;;
  esac
done

if [ ! -e packed/photos.zip ]; then
  # The CPU reads them where they are; 60 MB is what can be carried.
  python benchmarks/pack_photos.py "$data/train" packed/photos.zip \
    --side 512 --megabytes "${MEGABYTES:-1000}"
fi
if [ ! -e packed/evaluation ]; then
  cp -r "$data/eval/bsds500_val32" packed/evaluation
fi

# On CPUs a batch is faster with a device for each core.
devices=1
while ((2 * devices <= $(nproc) && devices < 16)); do devices=$((2 * devices)); done
export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"

# Crops are about as large as the pictures that are restored: on larger ones than in
# training the network denoises worse. A batch has a crop for each device. The learning
# rate stays and the average does what its fall would, so that the run can end at any
# time.
nice -n 19 pigdm train packed/photos.zip --out "$run" --init photos-64 \
  --steps 1000000 --batch $((devices > 2 ? devices : 2)) --crop 192 --lr 2e-4 --warmup 100 --decay 0 --ema 0.999 \
  --spacing quadratic --weighting balanced --optimizer muon --save-every "$save" \
  --sample-every 1000000 "${extra[@]}" &
trainer=$!
trap 'kill -TERM $trainer 2>/dev/null || true' INT TERM

newest() { ls "$run/checkpoints" 2>/dev/null | grep -E '^[0-9]+$' | sort -n | tail -1; }
ship() {
  nice -n 19 python benchmarks/ship_prior.py "$run" photos-64 --photos packed/evaluation
}

scored=$(newest || true) deadline=$((SECONDS + 60 * minutes))
while kill -0 $trainer 2>/dev/null; do
  sleep 5
  ((SECONDS < deadline)) || kill -TERM $trainer 2>/dev/null || true
  if [ "$(newest || true)" != "$scored" ]; then
    scored=$(newest)
    ship || true
  fi
done
wait $trainer || echo "the trainer ended with status $?" >&2
[ "$(newest || true)" = "$scored" ] || ship
