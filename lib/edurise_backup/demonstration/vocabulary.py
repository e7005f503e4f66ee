"""The words that the platform's prose is made of: subjects of teaching, and sentences to put them in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject of teaching; `things` and `methods` are noun phrases that follow "the"."""

    name: str
    things: tuple[str, ...]
    methods: tuple[str, ...]


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(","))


SUBJECTS = (
    Subject(
        "Algebra",
        _phrases("quadratic equation, coefficient, polynomial, root of the function, inverse element, linear map, "
                 "determinant, identity matrix, inequality, geometric series, vector space, common denominator"),
        _phrases("substitution, proof by induction, completion of the square, elimination, factoring, estimate"),
    ),
    Subject(
        "Biology",
        _phrases("cell membrane, mitochondrion, food chain, recessive gene, enzyme, population of frogs, root hair, "
                 "immune response, chlorophyll, double helix, nerve impulse, river bank habitat"),
        _phrases("microscope slide, field count, dissection, control group, dilution series, pedigree chart"),
    ),
    Subject(
        "History",
        _phrases("city charter, grain tax, peace treaty, printing press, guild of weavers, trade route, census, "
                 "parliament, spring uprising, royal archive, canal company, border commission"),
        _phrases("primary source, timeline, eyewitness account, comparison of maps, ledger, oral history"),
    ),
    Subject(
        "Programming",
        _phrases("linked list, loop invariant, hash table, function call, unit test, race condition, stack frame, "
                 "compiler warning, binary search, pull request, open file, recursive step"),
        _phrases("debugger, code review, table of test cases, profiler, pair session, refactoring"),
    ),
    Subject(
        "Physics",
        _phrases("falling body, electric field, wave length, angular momentum, friction, heat engine, lens, spring "
                 "constant, magnetic flux, centre of mass, standing wave, potential energy"),
        _phrases("measurement, error estimate, free body diagram, pendulum, dimensional analysis, data logger"),
    ),
    Subject(
        "Chemistry",
        _phrases("ionic bond, catalyst, buffer solution, reaction rate, noble gas, oxidation number, molar mass, "
                 "precipitate, covalent bond, acid, equilibrium constant, periodic trend"),
        _phrases("titration, flame test, distillation, mole calculation, safety sheet, colour indicator"),
    ),
    Subject(
        "Literature",
        _phrases("narrator, second stanza, opening scene, metaphor, minor character, frame story, dialogue, turning "
                 "point, unreliable witness, rhyme scheme, letter in chapter four, title"),
        _phrases("close reading, comparison of drafts, reading aloud, character map, annotation, peer review"),
    ),
    Subject(
        "Geography",
        _phrases("river delta, monsoon, tectonic plate, market town, water table, coastal dune, commuter belt, "
                 "contour line, glacier, harvest, urban heat island, rain shadow"),
        _phrases("field sketch, climate graph, satellite image, survey of passers-by, transect, scale model"),
    ),
    Subject(
        "Economics",
        _phrases("interest rate, opportunity cost, supply curve, household budget, trade balance, public good, "
                 "inflation target, price ceiling, central bank, labour market, index of prices, subsidy"),
        _phrases("marginal analysis, two-good model, classroom auction, time series, case study, balance sheet"),
    ),
    Subject(
        "Music",
        _phrases("dominant seventh, bass line, syncopation, second movement, key signature, choir part, string "
                 "section, melody, slow introduction, cadence, time signature, folk tune"),
        _phrases("sight reading, ear training, score study, rehearsal letter, recording, improvisation"),
    ),
)  # fmt: skip

ADJECTIVES = _phrases(
    "careful, common, complete, early, exact, familiar, final, useful, hidden, important, local, missing, modern, "
    "simple, open, original, practical, quiet, rapid, rough, second, separate, sharp, slow, small, steady, strange, "
    "surprising, typical, weak, written, unusual"
)
CLAIMS = _phrases(
    "depends on, explains, limits, changes, is easier to see than, is often confused with, comes before, "
    "follows from, can be derived from, has little to do with, becomes clearer through, should be compared with"
)
TASKS = _phrases(
    "describe, sketch, measure, compare, check, summarise, predict, list, question, rewrite, justify, test"
)
REASONS = _phrases(
    "because the first attempt left a gap, as the example on the board shows, although the textbook puts it "
    "differently, when the numbers are small, if nothing else is known, since both sides must agree, unless the "
    "conditions change, even where the data are poor, once the terms are defined, while the group was still counting"
)
VERDICTS = _phrases(
    "This needs one more source, The argument holds, Please show each step, A drawing would help here, "
    "The conclusion is too strong, This is the right question, The units are missing, Good use of the method, "
    "Check the sign in the last line, The example carries the point well"
)
GIVEN_NAMES = _phrases(
    "Amina, Ben, Carla, Dmitri, Elif, Fatou, Giorgos, Hana, Ivo, Jasmin, Kofi, Lena, Mateo, Nadia, Oskar, Priya, "
    "Quentin, Rosa, Samir, Tomasz, Uma, Viktor, Wanjiru, Xin, Yusuf, Zoë, Björn, Chloé, Đorđe, Françoise, Łukasz, Søren"
)
FAMILY_NAMES = _phrases(
    "Adeyemi, Bauer, Costa, Dvořák, Eriksen, Ferrari, García, Horvat, Ivanova, Jansen, Kaya, Lindqvist, Müller, "
    "Nguyen, O'Brien, Papadakis, Quiroga, Rossi, Schneider, Tanaka, Usman, Varga, Weiß, Xu, Yılmaz, Zieliński, "
    "Haddad, Kowalski, Moreau, Sørensen, Petrov, Abebe"
)
NUMBERS = tuple(str(number) for number in range(2, 400))
