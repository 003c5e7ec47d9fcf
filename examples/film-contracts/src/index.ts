export { accessLog } from './access-log.ts'
export { type CleaningReport, cleanFilms, type Film, type RawFilm, readFilms } from './films.ts'
export { accessLogSetting, commonSettings, httpSettings, queueDriver } from './infrastructure.ts'
export { orderFulfilled, orderPlaced, orderRejected, stockChanged } from './messages.ts'
