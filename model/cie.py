"""Constants of colour: sRGB primaries, the D65 white point and the CIE Lab curve.

Plain numbers, so that decoding workers can use them without loading PyTorch.
"""

XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""IEC 61966-2-1 linear RGB to CIE XYZ; the matrix that scikit-image uses as well."""
WHITE_D65_XYZ = (0.95047, 1.0, 1.08883)
"""D65 under the 2 degree observer."""
LAB_THRESHOLD = 0.008856
"""CIE 15: below it the cube root is replaced by its tangent."""
LAB_SLOPE = 7.787
LAB_OFFSET = 16.0 / 116.0
SRGB_THRESHOLD = 0.04045
"""Below it the sRGB curve is the line value / 12.92, above it ((value + 0.055) / 1.055) ** 2.4."""
