"""The file formats that are read, by the endings of their files."""

from __future__ import annotations

from pathlib import Path

from ppl_vae.data.cells import H5ad
from ppl_vae.data.documents import WordCounts
from ppl_vae.data.formats import Arrays, Format, OneArray, Parquet, Text

__all__ = ["ENDINGS", "format_of"]

FORMATS: tuple[Format, ...] = (Text(), Parquet(), OneArray(), Arrays(), H5ad(), WordCounts())
ENDINGS = tuple(ending for one in FORMATS for ending in one.endings)
"""Of files that are read."""

_ADVICE = {
    ".xlsx": "pd.read_excel(path).to_csv('data.csv', index=False)",
    ".xls": "pd.read_excel(path).to_csv('data.csv', index=False)",
    ".json": "pd.read_json(path).to_csv('data.csv', index=False)",
    ".jsonl": "pd.read_json(path, lines=True).to_csv('data.csv', index=False)",
    ".feather": "pd.read_feather(path).to_parquet('data.parquet')",
    ".dta": "pd.read_stata(path).to_csv('data.csv', index=False)",
    ".sas7bdat": "pd.read_sas(path).to_csv('data.csv', index=False)",
    ".sav": "pd.read_spss(path).to_csv('data.csv', index=False)",
    ".hdf": "pd.read_hdf(path).to_csv('data.csv', index=False)",
    ".h5": "np.savez('data.npz', x=h5py.File(path)['x'][:])",
    ".hdf5": "np.savez('data.npz', x=h5py.File(path)['x'][:])",
    ".mat": "np.savez('data.npz', x=scipy.io.loadmat(path)['x'])",
    ".mtx": "scipy.sparse.save_npz('data.npz', scipy.io.mmread(path).tocsr())",
    ".arff": "pd.DataFrame(scipy.io.arff.loadarff(path)[0]).to_csv('data.csv', index=False)",
    ".txt": "np.savez('data.npz', x=np.loadtxt(path))",
    ".pt": "np.save('data.npy', torch.load(path).numpy())",
    ".pkl": "pd.read_pickle(path).to_csv('data.csv', index=False)",
    ".gz": "pd.read_csv(path).to_csv('data.csv', index=False)",
    ".zip": "pd.read_csv(path).to_csv('data.csv', index=False)",
    ".bz2": "pd.read_csv(path).to_csv('data.csv', index=False)",
    ".xz": "pd.read_csv(path).to_csv('data.csv', index=False)",
}


def format_of(path: Path) -> Format:
    """The format of a file, by its ending.

    Raises
    ------
    ValueError
        For another one, with the line of pandas, numpy or scipy that converts it.
    """
    found = next((one for one in FORMATS if path.suffix.lower() in one.endings), None)
    if found is None:
        line = _ADVICE.get(path.suffix.lower(), "np.savez('data.npz', x=x)")
        raise ValueError(
            f"expected a file that ends in {', '.join(ENDINGS)}, or a folder of pictures, got {path}; convert it: "
            f"{line}"
        )
    return found
