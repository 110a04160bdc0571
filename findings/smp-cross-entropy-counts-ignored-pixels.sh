#!/usr/bin/env bash
# segmentation-models-pytorch 0.6.0: SoftCrossEntropyLoss divides by the ignored pixels too.
#
# With ignore_index it leaves ignored pixels out of the sum, and keeps them in the mean: where half of the
# pixels are void, the loss and its gradient are half of torch's cross_entropy. So frames weigh less the
# more void they have, and the balance with a Dice loss moves from batch to batch. Expected: the mean of
# the pixels that count, as torch.nn.functional.cross_entropy gives it.
# Way out: torch's own cross_entropy, which has ignore_index and label_smoothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  segmentation-models-pytorch==0.6.0 torch==2.15.0 torchvision==0.29.2
cat >"$work/void.py" <<'PYTHON'
import segmentation_models_pytorch as smp
import torch

torch.manual_seed(0)
logits, truth = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
print(f"segmentation-models-pytorch {smp.__version__}, torch {torch.__version__}")
for rows in (0, 4, 6):
    truth[:, :rows] = 255
    for smoothing in (0.0, 0.1):
        soft = smp.losses.SoftCrossEntropyLoss(smooth_factor=smoothing, ignore_index=255)
        theirs = torch.nn.functional.cross_entropy(
            logits, truth, ignore_index=255, label_smoothing=smoothing
        )
        ratio = soft(logits, truth) / theirs
        print(f"{rows} of 8 rows void, smoothing {smoothing}: {ratio:.2f} of torch's")
PYTHON
seen=$("$work/venv/bin/python" "$work/void.py")
echo "$seen"
case "$seen" in
*"0 of 8 rows void, smoothing 0.0: 1.00 of torch's"*"4 of 8 rows void, smoothing 0.0: 0.50 of torch's"*"6 of 8 rows void, smoothing 0.1: 0.25 of torch's") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
