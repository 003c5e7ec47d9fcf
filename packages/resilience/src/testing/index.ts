export type { ModelledDownstream, Outage } from './modelled-downstream.ts'
export { DownstreamError } from './modelled-downstream.ts'
export { simulate, type SimulationOptions } from './simulate.ts'
export type { SimulatedSpan, SimulationReport } from './simulation-report.ts'
