"""How each centre and each manufacturer takes films: exposure, processing, markings, file format habits.

Centres A-F are those of the prognosis cohort, the rest are the manufacturers of the severity cohort in their stored spellings.
The values are invented; what matters is that the styles differ as real ones do and that leave-one-centre-out is therefore harder.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """Shares are probabilities 0..1; lengths are body units (the lungs are about 1.3 high)."""

    manufacturer: str
    dark: float = 0.12  # attenuation shown black
    bright: float = 1.6  # attenuation shown white
    gamma: float = 1.0  # below 1 lifts the lungs
    detail: float = 0.35  # local contrast added by the processing
    blur: float = 0.003
    noise: float = 0.014
    collimated: float = 0.25
    letter: str = "L"  # marker laid on the detector; "" none
    writing: str = ""  # text burnt in by the workstation
    bits: tuple[int, ...] = (12,)
    monochrome1: float = 0.2
    supine: float = 0.3  # share of bedside films at an average score
    modality: str = "DX"


STYLES = {
    "A": Style("AGFA", gamma=0.85, detail=0.6, noise=0.012, bits=(12, 14), monochrome1=0.1, supine=0.45, modality="CR"),
    "B": Style("Carestream Health", dark=0.05, bright=1.5, gamma=1.15, detail=0.2, letter="R", bits=(12,), supine=0.25),
    "C": Style("SIEMENS", gamma=0.75, detail=0.8, noise=0.02, blur=0.002, writing="AP", letter="", bits=(14,), supine=0.5),
    "D": Style("FUJIFILM Corporation", bright=1.75, gamma=1.0, collimated=0.5, bits=(10, 12), monochrome1=0.45, modality="CR"),
    "E": Style("KODAK", dark=0.2, bright=1.45, blur=0.006, noise=0.024, writing="TORACE", bits=(8, 12), modality="CR"),
    "F": Style("SIEMENS", gamma=0.9, detail=0.45, writing="PORTABLE", bits=(12, 14, 16), monochrome1=0.15, supine=0.4),
    "SIEMENS": Style("SIEMENS", gamma=0.85, detail=0.5, bits=(12, 14), monochrome1=0.1, supine=0.5),
    "Carestream Health": Style("Carestream Health", bright=1.7, gamma=1.0, detail=0.25, letter="R", bits=(12, 16), supine=0.5),
    "AGFA": Style("AGFA", gamma=1.15, noise=0.02, collimated=0.4, bits=(12,), monochrome1=0.7, supine=0.3, modality="CR"),
    "Agfa-Gevaert": Style("Agfa-Gevaert", gamma=1.1, detail=0.6, writing="SUPINE", bits=(12, 14), monochrome1=0.5, modality="CR"),
    "KODAK": Style("KODAK", dark=0.2, blur=0.006, noise=0.022, bits=(10, 12), monochrome1=0.3, modality="CR"),
    "Villa Sistemi Medicali": Style("Villa Sistemi Medicali", gamma=1.2, detail=0.1, letter="R", bits=(14,), monochrome1=0.0),
    "FUJIFILM Corporation": Style("FUJIFILM Corporation", bright=1.75, detail=0.7, bits=(10,), monochrome1=0.6, modality="CR"),
    "Digitec": Style("Digitec", bright=1.45, gamma=0.8, bits=(8,), monochrome1=0.0),
}
