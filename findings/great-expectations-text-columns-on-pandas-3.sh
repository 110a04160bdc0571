#!/usr/bin/env bash
# Great Expectations 1.24.1 on pandas 3.1.1: a text column is of type "str", but of no type in a list with "str".
#
# ExpectColumnValuesToBeOfType(type_="str") passes; ExpectColumnValuesToBeInTypeList with the same name in
# its list fails, and reports 'str' as the observed value. No other name helps: object, string,
# StringDtype. Numbers pass both ways. A suite that allows several types, so that it holds on pandas 2
# and 3, fails on every text column. Expected: what is of a type is of one type in a list that has it.
# Way out: an expectation of one type for each pandas version.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check great-expectations==1.24.1 pandas==3.1.1
export GX_ANALYTICS_ENABLED=false
cat >"$work/text.py" <<'PYTHON'
import great_expectations
import pandas
from great_expectations import expectations

frame = pandas.DataFrame({"city": ["aachen", "bochum"], "pixels": [2, 3]})
context = great_expectations.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("frames")
batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
text = ["str", "object", "string", "StringDtype", "string[python]", "string[pyarrow]"]

print(f"great-expectations {great_expectations.__version__}, pandas {pandas.__version__}")
for column, name, names in (("city", "str", text), ("pixels", "int64", ["int64", "float64"])):
    single = expectations.ExpectColumnValuesToBeOfType(column=column, type_=name)
    several = expectations.ExpectColumnValuesToBeInTypeList(column=column, type_list=names)
    one, many = batch.validate(single), batch.validate(several)
    print(f"{column}: {name} {one.success}, in a list {many.success}, observed {many.result['observed_value']}")
PYTHON
seen=$("$work/venv/bin/python" "$work/text.py" 2>"$work/log")
echo "$seen"
case "$seen" in
*"city: str True, in a list False, observed str"*"pixels: int64 True, in a list True, observed int64") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
