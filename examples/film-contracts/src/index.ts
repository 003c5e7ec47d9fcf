export { type CleaningReport, cleanFilms, type Film, type RawFilm, readFilms } from './films.ts'
export { commonSettings, httpSettings, queueDriver } from './infrastructure.ts'
export { orderFulfilled, orderPlaced, orderRejected, stockChanged } from './messages.ts'
