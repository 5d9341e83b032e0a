// Resolve the page's modules for tests: what a module imports gets the query of its own address, so that each query
// loads all of them again, without the state of the tests before.

const PAGE = new URL('../../../../progress/query/page/', import.meta.url).href;

export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  if (!found.url.startsWith(PAGE)) return found;
  const { search } = new URL(context.parentURL);
  return { ...found, url: found.url.includes('?') ? found.url : found.url + search, format: 'module' };
}
