"""What steerd tells of itself: OpenTelemetry metrics and traces, structured logs (see ARCHITECTURE.md).

`meters.Meters` holds the instruments, `observers` turns what agents and coordinators do into measurements, `traces`
makes one trace of each incident, `logs` sets logging up. Importing this package loads none of them.
"""
