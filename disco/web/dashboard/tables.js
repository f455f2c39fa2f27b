// Examples from a CSV file whose first line names the columns. Rows in which a value is missing are left out.

const MISSING = new Set(["", "na", "nan", "null", "none", "?"]);

/** Split CSV into rows of text. Source: RFC 4180; a quoted field may hold commas, quotes and line breaks. */
export function parseCsv(text) {
  const rows = [];
  let row = [];
  let field = "";
  let quoted = false;
  const source = text.replace(/^\uFEFF/, "");
  for (let at = 0; at < source.length; at++) {
    const letter = source[at];
    if (quoted) {
      if (letter !== '"') field += letter;
      else if (source[at + 1] === '"') field += source[++at];
      else quoted = false;
    } else if (letter === '"' && field === "") quoted = true;
    else if (letter === ",") row.push(field), (field = "");
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && source[at + 1] === "\n") at++;
      row.push(field), rows.push(row), (row = []), (field = "");
    } else field += letter;
  }
  if (field !== "" || row.length) rows.push([...row, field]);
  return rows.filter((one) => one.length > 1 || one[0].trim() !== "");
}

/**
 * Read the columns that a task names.
 * @returns {{inputs: number[][], targets: number[][], leftOut: number}}
 */
export function readTable(text, training, outputs) {
  const [header, ...rows] = parseCsv(text);
  const names = [...training.inputColumns, ...training.outputColumns];
  const lacking = names.filter((name) => !(header ?? []).includes(name));
  if (lacking.length) throw new Error(`The file lacks the columns ${lacking.join(", ")}; its first line must name them.`);
  const places = names.map((name) => header.indexOf(name));
  const inputs = [];
  const targets = [];
  let leftOut = 0;
  rows.forEach((row, index) => {
    const texts = places.map((place) => (row[place] ?? "").trim());
    if (texts.some((one) => MISSING.has(one.toLowerCase()))) return void leftOut++;
    const numbers = texts.map((one, place) => readNumber(one, names[place], training, index + 2));
    inputs.push(numbers.slice(0, training.inputColumns.length));
    targets.push(spread(numbers.slice(training.inputColumns.length), outputs, training.outputColumns[0]));
  });
  if (!inputs.length) throw new Error("The file has no row in which every column of the task has a value.");
  return { inputs, targets, leftOut };
}

/** Read one value; a categorical column's is its place among the column's categories. */
export function readNumber(text, column, training, line) {
  const categories = training.categoricalColumns?.[column];
  const number = categories ? categories.indexOf(text) : text === "" ? NaN : Number(text);
  if (Number.isFinite(number) && !(categories && number < 0)) return number;
  const where = line ? `Line ${line}: ${column}` : column;
  throw new Error(categories ? `${where} must be one of ${categories.join(", ")}.` : `${where} is “${text.slice(0, 40)}”, which is no number.`);
}

/** Give every output of the model its column; one column and several outputs mean a class from 0. */
function spread(values, outputs, column) {
  if (values.length === outputs) return values;
  const [chosen] = values;
  if (values.length !== 1 || !Number.isInteger(chosen) || chosen < 0 || chosen >= outputs)
    throw new Error(`${column} must be a class from 0 to ${outputs - 1}.`);
  return Array.from({ length: outputs }, (_, index) => (index === chosen ? 1 : 0));
}

/** Means and deviations of columns; a column that never changes has deviation 1. */
export function scaleOf(inputs) {
  return inputs[0].map((_, column) => {
    const mean = inputs.reduce((sum, row) => sum + row[column], 0) / inputs.length;
    const variance = inputs.reduce((sum, row) => sum + (row[column] - mean) ** 2, 0) / inputs.length;
    return { mean, deviation: Math.sqrt(variance) || 1 };
  });
}

export const scaled = (row, scale) => row.map((value, column) => (value - scale[column].mean) / scale[column].deviation);
