export { infra, infraArgs } from './command.ts'
export { dockerFolder, filmStore } from './project.ts'
export { reachable } from './reach.ts'
