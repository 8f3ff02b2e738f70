"""Gradient pieces: what happens to a gradient before the rule sees it. One idea, one file."""

from steepest.gradients.clip_norm import ClipNorm as ClipNorm
from steepest.gradients.clip_norm import clip_norm as clip_norm
from steepest.gradients.clip_param_norm import ClipParamNorm as ClipParamNorm
from steepest.gradients.clip_param_norm import clip_param_norm as clip_param_norm
from steepest.gradients.clip_value import ClipValue as ClipValue
from steepest.gradients.clip_value import clip_value as clip_value
from steepest.gradients.nonfinite import NonFinite as NonFinite
from steepest.gradients.nonfinite import nonfinite as nonfinite
