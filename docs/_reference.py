"""Write the pages of the reference from the package: its names and its registries.

Nothing here knows a class or a solver by its name, so that one that is added has its page
and its row.
"""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import sksharp
from sksharp import averaging, optim, options
from sksharp.options.schedules import SCHEDULES, LearningRateSchedule
from sksharp.options.solvers import SOLVERS, Solver

DOCS = Path(__file__).parent
INTERNAL = {"sksharp.training"}
KINDS = [
    "Estimators",
    "Searches and transformers",
    "Displays",
    "Losses",
    "Solvers",
    "Learning-rate schedules",
    "Averages and ensembles",
    "Base classes",
    "Classes",
    "Functions",
    "Warnings",
]
INDEX = ["api/index", "api/solvers", "api/averages", "api/schedules"]

PAGE = """{underlined}

.. currentmodule:: {module}

.. auto{kind}:: {name}
{members}"""


def modules():
    """Return the public modules, the package first."""
    found = (
        f"sksharp.{module.name}"
        for module in pkgutil.iter_modules(sksharp.__path__)
        if not module.name.startswith("_")
    )
    return ["sksharp", *(name for name in found if name not in INTERNAL)]


def objects():
    """Return the public classes and functions by their full names, each one once."""
    seen, result = set(), {}
    for module_name in modules():
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", None) or own_names(module):
            thing = getattr(module, name)
            if thing not in seen:
                seen.add(thing)
                result[f"{module_name}.{name}"] = thing
    return result


def own_names(module):
    """Return the public names of what a module without ``__all__`` defines."""
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and getattr(thing, "__module__", None) == module.__name__
    ]


def kind_of(thing):
    """Return under which heading a name stands."""
    if not inspect.isclass(thing):
        return "Functions"
    if issubclass(thing, Warning):
        return "Warnings"
    if issubclass(thing, options.Option):
        return kind_of_option(thing)
    if hasattr(thing, "partial_fit") or hasattr(thing, "n_members"):
        return "Estimators"
    if hasattr(thing, "fit"):
        return "Searches and transformers"
    if thing.__name__.endswith("Display"):
        return "Displays"
    return "Classes"


def kind_of_option(cls):
    """Return under which heading a class of options stands."""
    if is_base(cls):
        return "Base classes"
    if issubclass(cls, Solver):
        return "Solvers"
    if cls.holder == "loss":
        return "Losses"
    is_schedule = issubclass(cls, LearningRateSchedule)
    return "Learning-rate schedules" if is_schedule else "Averages and ensembles"


def is_base(cls):
    """Return whether other classes of options derive from one."""
    others = (getattr(options, name) for name in options.__all__)
    return any(issubclass(other, cls) for other in others if other is not cls)


def summary(thing):
    """Return the first sentence of the docstring of a name, in Markdown."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r":\w+:(?=`)", "", text).replace("``", "`")


def object_page(full_name, thing):
    """Return the page of a class or a function."""
    module, _, name = full_name.rpartition(".")
    return PAGE.format(
        underlined=f"{name}\n{'=' * len(name)}",
        module=module,
        kind="class" if inspect.isclass(thing) else "function",
        name=name,
        members=members(thing),
    )


def members(thing):
    """Return the lines of a page that say which members are on it."""
    if not inspect.isclass(thing):
        return ""
    if issubclass(thing, options.Option):  # its parameters are all that a user sets
        return "   :members:\n" if is_base(thing) else ""
    # not what torch, skorch and Python's exceptions bring along
    theirs = (
        "Optimizer, NeuralNetClassifier, NeuralNetRegressor, Callback, Exception, tuple"
    )
    return f"   :members:\n   :inherited-members: {theirs}\n"


def index_page():
    """Return the tables of all names."""
    found = objects()
    lines = ["# Classes and functions"]
    for module in modules():
        own = {
            name: thing
            for name, thing in found.items()
            if name.rpartition(".")[0] == module
        }
        if not own:
            continue
        lines += ["", f"## {module}", ""]
        lines += [first_paragraph(importlib.import_module(module))]
        kinds = sorted({kind_of(thing) for thing in own.values()}, key=KINDS.index)
        for kind in kinds:
            rows = [
                (link(name), summary(thing).replace("|", "\\|"))
                for name, thing in own.items()
                if kind_of(thing) == kind
            ]
            lines += ["", *([f"### {kind}", ""] if len(kinds) > 1 else [])]
            lines += table(("name", "what it is"), rows)
    return "\n".join([*lines, "", *toctree(found)])


def first_paragraph(module):
    """Return what a module says of itself."""
    return summary(module)


def link(full_name):
    """Return a link to the page of a name."""
    return f"[`{full_name.rpartition('.')[2]}`]({full_name}.rst)"


def toctree(names):
    """Return the lines of a hidden table of contents."""
    return ["```{toctree}", ":hidden:", "", *names, "```", ""]


def table(head, rows):
    """Return the lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def codes(names):
    """Return names as code."""
    return ", ".join(f"`{name}`" for name in names)


def options_of(cls):
    """Return the options of a class with their defaults, as code."""
    parameters = inspect.signature(cls).parameters.values()
    named = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    return codes(f"{one.name}={one.default!r}" for one in named)


def cards():
    """Return the heading under which a page has a solver's card, by the solver's name."""
    found = {}
    for path in sorted(DOCS.glob("solvers-*.md")):
        for heading in re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.M):
            name = heading.split(":")[0].lower().replace(" ", "_").replace("-", "_")
            anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            found[name] = f"../{path.name}#{anchor}"
    return found


def solvers_page():
    """Return the table of the solvers and of what each reads."""
    card, full_names = cards(), {t: name for name, t in objects().items()}
    rows = []
    for name, solver in SOLVERS.items():
        optimizer = getattr(optim, solver.optimizer, None)  # not all are public there
        reads = list(dict.fromkeys(solver.reads.values()))
        if solver.has_schedule:
            reads += ["learning_rate", "power_t"]
        bases = "any" if solver.takes_base else ""
        if solver.refuses:
            bases += f" but {codes(map(repr, solver.refuses))}"
        rows.append(
            (
                f"`'{name}'`",
                link(full_names[solver]),
                "" if optimizer is None else link(full_names[optimizer]),
                summary(solver).replace("|", "\\|"),
                options_of(solver) or "none",
                codes(reads) or "nothing",
                bases,
                f"[card]({card[name]})" if name in card else "",
            )
        )
    bases = codes(repr(name) for name, solver in SOLVERS.items() if solver.is_base)
    return "\n".join(
        [
            "# Solvers, their options and parameters",
            "",
            "Every stochastic solver of the estimators: its name, the object that takes",
            "its options in the place of the name, the optimizer for torch, and which",
            "parameters of the estimator it reads. `'lbfgs'` is scikit-learn's. How to",
            "choose one: [Choosing a solver](../choosing-a-solver.md).",
            "",
            *table(
                (
                    *("`solver`", "object", "for torch", "what it is", "options"),
                    *("reads", "base solver", "card"),
                ),
                rows,
            ),
            "",
            f"Base solvers: {bases}. A solver that takes one also reads what that one",
            "reads.",
            "",
        ]
    )


def averages_page():
    """Return the table of the averages of weights."""
    full_names = {t: name for name, t in objects().items()}
    parameters = inspect.signature(sksharp.SAMMLPClassifier).parameters
    rows = []
    for name in averaging.__all__:
        cls = getattr(averaging, name)
        if not inspect.isclass(cls):
            continue
        # which begins with the name of the class
        parameter = next(one for one in parameters if one.startswith(name.lower()))
        option = getattr(options, name, None)
        rows.append(
            (
                f"`{parameter}`",
                "" if option is None else link(full_names[option]),
                link(full_names[cls]),
                summary(cls).replace("|", "\\|"),
                "" if option is None else options_of(option),
            )
        )
    return "\n".join(
        [
            "# Averages and ensembles along a training",
            "",
            "The estimators' parameter that switches each on, the object that takes its",
            "options there, and the class for a loop of your own.",
            "[Weight averaging](../weight-averaging.md) says what they do.",
            "",
            *table(("parameter", "object", "for torch", "what it is", "options"), rows),
            "",
        ]
    )


def schedules_page():
    """Return the table of the learning-rate schedules."""
    full_names = {t: name for name, t in objects().items()}
    rows = [
        (
            f"`'{name}'`",
            link(full_names[cls]),
            summary(cls).replace("|", "\\|"),
            options_of(cls) or "none",
            "yes" if cls().needs_length else "no",
        )
        for name, cls in SCHEDULES.items()
    ]
    return "\n".join(
        [
            "# Learning-rate schedules and their options",
            "",
            "What `learning_rate` takes beside scikit-learn's names: a name, or an object",
            "with options. [Learning-rate schedules](../learning-rate-schedules.md) says",
            "which one to take.",
            "",
            *table(
                (
                    *("`learning_rate`", "object", "the rate", "options"),
                    "must know the length",
                ),
                rows,
            ),
            "",
            "The last column is for the options as they come. A schedule with milestones",
            "or a length in epochs, as ints, needs no length.",
            "",
        ]
    )


def pages():
    """Return the text of every page by its file."""
    result = {
        "index.md": index_page(),
        "solvers.md": solvers_page(),
        "averages.md": averages_page(),
        "schedules.md": schedules_page(),
    }
    for name, thing in objects().items():
        result[f"{name}.rst"] = object_page(name, thing)
    return result


def write(folder, replace):
    """Write all pages, and remove those of names that are gone."""
    texts = pages()
    for name, text in texts.items():
        replace(folder / name, text)
    for path in folder.iterdir():
        if path.name not in texts:
            path.unlink()
