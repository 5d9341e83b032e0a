// Files in the CSV format, made in the browser.

// Spreadsheet programs run some texts as formulas. As in the server's exports, a text that begins with one of these
// characters gets a leading apostrophe, and so does a text that begins with an apostrophe.
const FORMULA = /^[-=+@＝＋－＠'\s\u001c-\u001f]/u;

/**
 * Let the browser save rows, which are objects, with a header line. Null becomes an empty field. The byte order mark
 * tells spreadsheet programs that the file is in UTF-8.
 */
export function saveCsv(name, columns, rows) {
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
  const text = lines.map((line) => `${line.map(field).join(',')}\r\n`).join('');
  const url = URL.createObjectURL(new Blob(['\ufeff', text], { type: 'text/csv;charset=utf-8' }));
  const link = document.createElement('a');
  Object.assign(link, { href: url, download: `${name.replace(/[\\/:*?"<>|]/g, '_')}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads the file after the click
}

function field(value) {
  if (typeof value !== 'string') return String(value ?? '');
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
