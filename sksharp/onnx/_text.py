"""Counts of words and their weights, which skl2onnx converts in some cases only."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)

from .._jobs import Array
from ._graph import (
    DOUBLE,
    SINGLE,
    STRING,
    DType,
    Graph,
    dtype_of,
    n_columns,
    tensor_type,
)
from ._parsers import parse_step

# letters, digits and the like of any script, between brackets
WORD = r"\p{L}\p{N}_"

# token_pattern without its flag, and what it is in onnxruntime's dialect (RE2), in which
# \w and \b know the letters of English alone
PATTERNS = {
    r"\b\w\w+\b": f"[{WORD}][{WORD}]+",
    r"\w\w+": f"[{WORD}][{WORD}]+",
    r"\b\w+\b": f"[{WORD}]+",
    r"\w+": f"[{WORD}]+",
}
# a class of characters and no more, such as [a-z']+
PLAIN = re.compile(r"\[\^?[\x20-\x5a\x5f-\x7e]+\]\+")

PAD = "\0"  # no token: it fills the rows of documents with fewer of them


def shape_counts(operator: Any) -> None:
    """Set the type of the output of a CountVectorizer."""
    vectorizer = operator.raw_operator
    operator.outputs[0].type = tensor_type(
        _dtype_of_counts(vectorizer), len(vectorizer.vocabulary_)
    )


def convert_counts(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a CountVectorizer."""
    vectorizer, graph = operator.raw_operator, Graph(scope, container)
    counts = _counts(graph, vectorizer, operator.inputs)
    graph.cast(
        counts,
        SINGLE,
        _dtype_of_counts(vectorizer),
        to=operator.outputs[0].full_name,
    )


def convert_tfidf(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a TfidfVectorizer."""
    vectorizer, graph = operator.raw_operator, Graph(scope, container)
    dtype = _dtype_of_counts(vectorizer)
    counts = graph.cast(_counts(graph, vectorizer, operator.inputs), SINGLE, dtype)
    _weigh(graph, counts, vectorizer._tfidf, dtype, operator.outputs[0].full_name)


def shape_weights(operator: Any) -> None:
    """Set the type of the output of a TfidfTransformer."""
    operator.outputs[0].type = tensor_type(
        _dtype_of_weights(operator), n_columns(operator)
    )


def convert_weights(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a TfidfTransformer."""
    graph, dtype = Graph(scope, container), _dtype_of_weights(operator)
    (counts,), (output,) = operator.inputs, operator.outputs
    counts = graph.cast(counts.full_name, dtype_of(counts), dtype)
    _weigh(graph, counts, operator.raw_operator, dtype, output.full_name)


def _dtype_of_counts(vectorizer: Any) -> DType:
    return SINGLE if np.dtype(vectorizer.dtype) == SINGLE else DOUBLE


def _dtype_of_weights(operator: Any) -> DType:
    return SINGLE if dtype_of(operator.inputs[0]) == SINGLE else DOUBLE


def _counts(graph: Graph, vectorizer: Any, inputs: list[Any]) -> str:
    """Return the name of how often every term occurs in every document, in float32."""
    _check(vectorizer, inputs)
    texts = graph("Reshape", inputs[0].full_name, graph.constant([-1], np.int64))
    if vectorizer.lowercase:
        # the locale that is always there; letters of other scripts are in no term then
        is_ascii = all(term.isascii() for term in vectorizer.vocabulary_)
        texts = graph(
            "StringNormalizer",
            texts,
            case_change_action="LOWER",
            is_case_sensitive=1,
            locale="C" if is_ascii else "C.UTF-8",
        )
    tokens = graph(
        "Tokenizer",
        texts,
        op_domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value=PAD,
        tokenexp=_expression(vectorizer),
    )
    least, most = vectorizer.ngram_range
    terms: dict[int, list[tuple[list[str], int]]]
    terms = {n: [] for n in range(1, most + 1)}
    for term, index in vectorizer.vocabulary_.items():
        # a term of one token is taken as it is
        parts = term.split(" ") if most > 1 else [term]
        if len(parts) in terms:
            terms[len(parts)].append((parts, index))
    words: list[str] = []
    indices: list[int] = []
    starts: list[int] = []
    for of_length in terms.values():
        starts.append(len(words))
        for parts, index in of_length:
            words.extend(parts)
            indices.append(index)
    counts = graph(
        "TfIdfVectorizer",
        tokens,
        mode="TF",
        min_gram_length=least,
        max_gram_length=most,
        max_skip_count=0,
        ngram_counts=starts,
        ngram_indexes=indices,
        pool_strings=words,
    )
    return graph("Sign", counts) if vectorizer.binary else counts


def _check(vectorizer: Any, inputs: list[Any]) -> None:
    """Raise if a parameter has a value that ONNX cannot follow."""
    name = type(vectorizer).__name__
    wrong = {
        "analyzer": vectorizer.analyzer != "word",
        "input": vectorizer.input != "content",
        "preprocessor": vectorizer.preprocessor is not None,
        "strip_accents": vectorizer.strip_accents is not None,
        "tokenizer": vectorizer.tokenizer is not None,
    }
    for parameter, is_wrong in wrong.items():
        if is_wrong:
            default = CountVectorizer().get_params()[parameter]
            raise ValueError(
                f"{parameter} must be {default!r} for a {name} to be converted, got "
                f"{getattr(vectorizer, parameter)!r}. Prepare the texts before they come "
                "to the pipeline."
            )
    if vectorizer.stop_words is not None and vectorizer.ngram_range[1] > 1:
        raise ValueError(
            f"stop_words must be None for a {name} of more than single words to be "
            f"converted, got ngram_range={vectorizer.ngram_range}. Words are left out "
            "before they are put together, which ONNX cannot do; take single words, or "
            "max_df."
        )
    if len(inputs) != 1 or dtype_of(inputs[0]) != STRING:
        raise ValueError(f"a {name} needs one column of strings.")


def _expression(vectorizer: Any) -> str:
    """Return what a token is, in onnxruntime's dialect."""
    pattern: str = vectorizer.token_pattern
    bare = pattern.replace("(?u)", "")
    if bare in PATTERNS:
        return PATTERNS[bare]
    if PLAIN.fullmatch(bare):
        # a term of several words is taken apart at its blanks
        if vectorizer.ngram_range[1] == 1 or not re.search(bare, " "):
            return bare
    raise ValueError(
        f"token_pattern must be one of {[*PATTERNS]} or a class of characters such as "
        f'"[a-z\']+" for a {type(vectorizer).__name__} to be converted (without a blank '
        f"if ngram_range goes over 1), got {pattern!r}."
    )


def _weigh(graph: Graph, counts: str, transformer: Any, dtype: DType, to: str) -> None:
    """Add what a TfidfTransformer makes of counts."""

    def one() -> str:
        return graph.constant(1, dtype)

    def zero() -> str:
        return graph.constant(0, dtype)

    if transformer.sublinear_tf:
        # one plus the logarithm, of counts that are not zero
        logarithm = graph("Log", graph("Max", counts, one()))
        counts = graph(
            "Where",
            graph("Greater", counts, zero()),
            graph("Add", logarithm, one()),
            zero(),
        )
    if transformer.use_idf:
        counts = graph("Mul", counts, graph.constant(transformer.idf_, dtype))
    if transformer.norm is None:
        graph("Identity", counts, to=to)
        return
    norm = graph(
        {"l1": "ReduceL1", "l2": "ReduceL2"}[transformer.norm],
        counts,
        graph.constant([1], np.int64),
        keepdims=1,
    )
    # a document without a known word stays zero
    norm = graph("Where", graph("Equal", norm, zero()), one(), norm)
    graph("Div", counts, norm, to=to)


CONVERTERS = {
    CountVectorizer: (shape_counts, convert_counts),
    TfidfVectorizer: (shape_counts, convert_tfidf),
    TfidfTransformer: (shape_weights, convert_weights),
}

PARSERS = dict.fromkeys(CONVERTERS, parse_step)


# -- onnxruntime's operators, for the check of a model -------------------------------------


class Tokenizer(OpRun):
    """The operator of onnxruntime, which onnx does not have."""

    op_domain = "com.microsoft"

    def _run(
        self,
        texts: Array,
        mark: int = 0,
        mincharnum: int = 1,
        pad_value: str | None = None,
        tokenexp: str = "",
    ) -> tuple[Array]:
        pattern = re.compile(tokenexp.replace(WORD, r"\w"))
        rows = [pattern.findall(text) for text in texts]
        tokens = np.full((len(rows), max(map(len, rows), default=0)), pad_value, object)
        for tokens_of_row, row in zip(tokens, rows, strict=True):
            tokens_of_row[: len(row)] = row
        return (tokens,)


class StringNormalizer(OpRun):
    """The operator as onnxruntime has it: onnx's takes accents away."""

    op_domain = ""

    def _run(
        self,
        texts: Array,
        case_change_action: str | None = None,
        is_case_sensitive: int | None = None,
        locale: str | None = None,
        stopwords: list[str] | None = None,
    ) -> tuple[Array]:
        is_ascii = locale == "C"

        def lower(letter: str) -> str:
            small = letter.lower()
            is_known = len(small) == 1 and (letter.isascii() or not is_ascii)
            return small if is_known else letter

        return (np.array(["".join(map(lower, text)) for text in texts], dtype=object),)


OPERATORS = [Tokenizer, StringNormalizer]
