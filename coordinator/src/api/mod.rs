//! The REST API, `/api/v1`: parses, authorizes, calls one function, maps the error.
//!
//! [`table`] lists all routes with what they take and answer; the router and the OpenAPI document are
//! both made from it, so neither can know a route that the other does not. To add a route: write its
//! handler in the file of its noun, add its lines to [`table`], and rewrite the golden file
//! (`make golden`).

mod accounts;
mod backup;
pub mod error;
mod events;
mod extract;
mod groups;
mod guard;
mod health;
mod launch;
mod life;
mod logs;
mod meetings;
mod modules;
pub mod openapi;
mod operations;
mod parameters;
mod reports;
pub mod route;
mod router;
mod runs;
mod save;
mod session;
mod tokens;
mod update;
mod users;

use slipstream_shared::{
    api::{
        AbortRequest, AddDiskRequest, BarrierInfo, BarrierRequest, FileProblem, Health, LaunchRequest, LeadInfo,
        LeadRequest, LeaseRequest, LogInfo, ModuleAction, ModuleInfo, OperationInfo, Page, Parameter, ParameterWrite,
        PowerRequest, RemoveDiskRequest, ReportInfo, ResizeRequest, RetryRequest, RunDetail, RunSummary, SaveRequest,
        SavedModule, ScaleRequest, SetParameter, UpdateRequest, WaitAnswer, WaitRequest, Why,
    },
    event::Record,
};

pub use self::router::router;
use self::{
    error::Code::{
        Aborted, Conflict, Denied, InstanceNotFound, InvalidLaunch, InvalidModule, InvalidRequest, InvalidValue,
        KeyReused, LogNotFound, MediaType, ModuleNotFound, ParameterNotFound, ReportNotFound, RevisionMismatch,
        RunAmbiguous, RunEnded, RunNotFound, StorageFull, TooLarge, WaitTimeout,
    },
    route::{Needs, Route},
};

/// All routes.
#[must_use]
pub fn table() -> Vec<Route> {
    let mut all = service();
    all.extend(accounts::routes());
    all.extend(of_modules());
    all.extend(of_runs());
    all.extend(of_operations());
    all.extend(of_parameters());
    all.extend(of_meetings());
    all.extend(of_output());
    all
}

fn service() -> Vec<Route> {
    vec![
        Route::get("/api/v1/health", "health", health::show)
            .about("service", "Says whether the coordinator works, and which clouds it has")
            .needs(Needs::Nothing)
            .json::<Health>(200, "It works, or is stopping"),
        Route::get("/api/v1/openapi.json", "openapi", openapi::show)
            .about("service", "This description of the API")
            .needs(Needs::Nothing)
            .media(200, "application/json", "An OpenAPI 3.1 document"),
        Route::get("/api/v1/backup", "backup", backup::show)
            .needs(Needs::Admin)
            .about(
                "service",
                "Copies the store, for `slipstream-coordinator backup`, which adds the keys; only for administrators",
            )
            .media(200, "application/octet-stream", "All entries, as they were at one moment")
            .fails(&[Denied, StorageFull]),
    ]
}

fn of_modules() -> Vec<Route> {
    vec![
        Route::put("/api/v1/modules", "save_module", modules::save)
            .needs(Needs::Login)
            .about("modules", "Saves a module file as the next version of the module that it names")
            .query::<modules::SaveQuery>()
            .header("If-Match", "The version that the change was begun with, as in `\"3\"`; 0: the module is new")
            .takes_media("application/yaml", "The module file, in YAML, JSON or TOML")
            .json::<ModuleInfo>(201, "The version that was made")
            .json::<ModuleInfo>(200, "The latest version, which says the same already")
            .fails(&[InvalidModule, InvalidRequest, MediaType, TooLarge, Conflict, RevisionMismatch, StorageFull]),
        Route::get("/api/v1/modules", "list_modules", modules::list)
            .needs(Needs::Login)
            .about(
                "modules",
                "Lists the latest versions of modules, by path; what is in a folder; what is found by words",
            )
            .query::<modules::ListQuery>()
            .json::<Page<ModuleInfo>>(200, "A page of modules, without their source")
            .fails(&[InvalidRequest]),
        Route::get("/api/v1/modules/{*path}", "show_module", modules::show)
            .needs(Needs::Login)
            .about("modules", "Shows a module: `path` for its latest version, `path@3` or `path@published` for another")
            .json::<ModuleInfo>(200, "The module with its source; `ETag` is its version")
            .fails(&[ModuleNotFound, InvalidRequest]),
        Route::post("/api/v1/modules/{*path}", "change_module", modules::act)
            .needs(Needs::Login)
            .about("modules", "Publishes a version of a module, copies or moves it, takes its deletion back")
            .takes::<ModuleAction>()
            .json::<ModuleInfo>(200, "The module, or the one that was made")
            .fails(&[ModuleNotFound, InvalidRequest, InvalidModule, MediaType, Conflict, StorageFull]),
        Route::delete("/api/v1/modules/{*path}", "delete_module", modules::delete)
            .needs(Needs::Login)
            .about("modules", "Deletes a module: it is not found any more. Its versions are kept, and it can come back")
            .empty(204, "It is deleted")
            .fails(&[ModuleNotFound, InvalidRequest, Conflict, StorageFull]),
        Route::post("/api/v1/check-module", "check_module", modules::check)
            .needs(Needs::Login)
            .about("modules", "Says what is wrong with a module file on this coordinator, and stores nothing")
            .takes_media("application/yaml", "The module file, in YAML, JSON or TOML")
            .json::<Page<FileProblem>>(200, "All that saving or launching it would refuse; often nothing")
            .fails(&[InvalidModule, InvalidRequest, MediaType, TooLarge]),
        Route::get("/api/v1/versions/{*path}", "list_versions", modules::versions)
            .needs(Needs::Login)
            .about("modules", "Lists the versions of a module, the newest first")
            .query::<modules::VersionsQuery>()
            .json::<Page<ModuleInfo>>(200, "A page of versions, without their source")
            .fails(&[ModuleNotFound, InvalidRequest]),
    ]
}

fn of_runs() -> Vec<Route> {
    vec![
        Route::post("/api/v1/runs", "launch_run", runs::launch)
            .needs(Needs::Login)
            .about("runs", "Starts a run of a module")
            .header("Idempotency-Key", "The same key again, with the same body, gives the same run")
            .takes::<LaunchRequest>()
            .json::<RunDetail>(201, "The run exists; its machines are being launched")
            .fails(&[InvalidRequest, ModuleNotFound, InvalidLaunch, KeyReused, MediaType, TooLarge, StorageFull]),
        Route::get("/api/v1/runs", "list_runs", runs::list)
            .needs(Needs::Login)
            .about("runs", "Lists runs, newest first")
            .query::<runs::ListQuery>()
            .json::<Page<RunSummary>>(200, "A page of runs")
            .fails(&[InvalidRequest]),
        Route::get("/api/v1/runs/{run}", "show_run", runs::show)
            .needs(Needs::Login)
            .about("runs", "Shows a run with its machines")
            .json::<RunDetail>(200, "The run")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::delete("/api/v1/runs/{run}", "terminate_run", runs::terminate)
            .needs(Needs::Login)
            .about("runs", "Asks for the end of a run: its machines are removed. Asking twice changes nothing")
            .empty(202, "It will end")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::get("/api/v1/runs/{run}/why", "why_run", life::why)
            .needs(Needs::Login)
            .about("runs", "Says why a run is not where it is to be: what each instance lacks, since when, until when")
            .json::<Why>(200, "The first milestone that each instance lacks")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::put("/api/v1/runs/{run}/lease", "set_lease", life::set_lease)
            .needs(Needs::Login)
            .about("runs", "Says how long a run lives: one of `seconds` from now, `end`, and `never`")
            .takes::<LeaseRequest>()
            .json::<RunDetail>(200, "The run with its new `lease_end`")
            .fails(&[RunNotFound, RunAmbiguous, RunEnded, InvalidValue, InvalidRequest, MediaType, TooLarge]),
        Route::post("/api/v1/runs/{run}/abandon", "abandon_run", life::abandon)
            .needs(Needs::Login)
            .about("runs", "Gives up on machines that cannot be removed: the run ends, and `left` says what it leaves")
            .json::<RunDetail>(200, "The run as it has ended")
            .fails(&[RunNotFound, RunAmbiguous, RunEnded, Conflict]),
        Route::post("/api/v1/runs/{run}/abort", "abort_run", runs::abort)
            .needs(Needs::Login)
            .about("runs", "Aborts a run. The first reason counts")
            .takes::<AbortRequest>()
            .empty(204, "It is aborted")
            .fails(&[RunNotFound, RunAmbiguous, RunEnded, InvalidRequest, MediaType, TooLarge]),
        Route::delete("/api/v1/runs/{run}/abort", "cancel_abort", runs::cancel_abort)
            .needs(Needs::Login)
            .about("runs", "Takes the abort of a run back")
            .empty(204, "It is not aborted")
            .fails(&[RunNotFound, RunAmbiguous, RunEnded]),
        Route::get("/api/v1/runs/{run}/events", "run_events", events::stream)
            .needs(Needs::Login)
            .about("runs", "What happened to a run: as a stream that goes on, or as a page if JSON is asked for")
            .query::<events::EventsQuery>()
            .header("Last-Event-ID", "Goes on after this number; `after` says the same")
            .media(200, "text/event-stream", "Events with their numbers as ids; `end` when the run has ended")
            .json::<Page<Record>>(200, "A page of events, if only `application/json` is accepted")
            .fails(&[RunNotFound, RunAmbiguous, InvalidRequest]),
    ]
}

fn of_operations() -> Vec<Route> {
    const KEY: &str = "The same key again in this run, with the same body, gives the same operation";
    const FAILS: &[error::Code] = &[
        RunNotFound,
        RunAmbiguous,
        InvalidValue,
        Conflict,
        KeyReused,
        Aborted,
        RunEnded,
        InvalidRequest,
        MediaType,
        TooLarge,
    ];
    vec![
        Route::post("/api/v1/runs/{run}/scale", "scale_run", operations::scale)
            .needs(Needs::Login)
            .about("operations", "Gives nodes other numbers of instances, or removes named instances")
            .header("Idempotency-Key", KEY)
            .takes::<ScaleRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/retry", "retry_run", operations::retry)
            .needs(Needs::Login)
            .about("operations", "Runs the steps of an instance again, from one on; takes an abort back")
            .header("Idempotency-Key", KEY)
            .takes::<RetryRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/update", "update_run", update::update)
            .needs(Needs::Login)
            .about("operations", "Updates a run to another version of its module: only what differs is touched")
            .header("Idempotency-Key", KEY)
            .takes::<UpdateRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done and why, where only that was asked")
            .fails(&[
                RunNotFound,
                RunAmbiguous,
                ModuleNotFound,
                InvalidModule,
                InvalidLaunch,
                InvalidValue,
                Conflict,
                KeyReused,
                Aborted,
                RunEnded,
                InvalidRequest,
                MediaType,
                TooLarge,
            ]),
        Route::post("/api/v1/runs/{run}/stop", "stop_machines", operations::stop)
            .needs(Needs::Login)
            .about("operations", "Powers machines off; disks, names and values stay")
            .header("Idempotency-Key", KEY)
            .takes::<PowerRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/start", "start_machines", operations::start)
            .needs(Needs::Login)
            .about("operations", "Powers machines on again; done when they are ready")
            .header("Idempotency-Key", KEY)
            .takes::<PowerRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/reboot", "reboot_machines", operations::reboot)
            .needs(Needs::Login)
            .about("operations", "Powers machines off and on again; done when they are ready")
            .header("Idempotency-Key", KEY)
            .takes::<PowerRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/resize", "resize_machines", operations::resize)
            .needs(Needs::Login)
            .about(
                "operations",
                "Gives machines another size: they are powered off for it, and are ready again when it is done",
            )
            .header("Idempotency-Key", KEY)
            .takes::<ResizeRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/disks", "add_disk", operations::add_disk)
            .needs(Needs::Login)
            .about("operations", "Gives machines one more disk each, while they run")
            .header("Idempotency-Key", KEY)
            .takes::<AddDiskRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/disks/remove", "remove_disk", operations::remove_disk)
            .needs(Needs::Login)
            .about("operations", "Removes a disk of a machine with all that is on it, while the machine runs")
            .header("Idempotency-Key", KEY)
            .takes::<RemoveDiskRequest>()
            .json::<OperationInfo>(202, "It has begun")
            .json::<OperationInfo>(200, "What would be done, where only that was asked")
            .fails(FAILS),
        Route::post("/api/v1/runs/{run}/save", "save_run", save::save)
            .needs(Needs::Login)
            .about(
                "operations",
                "Saves scripts that were edited for a retry, and have succeeded, as a version of the module",
            )
            .takes::<SaveRequest>()
            .json::<SavedModule>(201, "The version that was made")
            .json::<SavedModule>(200, "The latest version, which says the same already")
            .fails(&[
                RunNotFound,
                RunAmbiguous,
                ModuleNotFound,
                InvalidModule,
                InvalidValue,
                Conflict,
                InvalidRequest,
                MediaType,
                TooLarge,
                StorageFull,
            ]),
        Route::get("/api/v1/runs/{run}/operations", "list_operations", operations::list)
            .needs(Needs::Login)
            .about("operations", "Lists what was asked of a run since it was Ready")
            .json::<Page<OperationInfo>>(200, "All of them, oldest first")
            .fails(&[RunNotFound, RunAmbiguous]),
    ]
}

fn of_parameters() -> Vec<Route> {
    const PATH: &str = "/api/v1/runs/{run}/parameters/{key}";
    vec![
        Route::get("/api/v1/runs/{run}/parameters", "list_parameters", parameters::list)
            .needs(Needs::Login)
            .about("parameters", "Lists the parameters of a run")
            .json::<Page<Parameter>>(200, "All of them, by key")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::get(PATH, "show_parameter", parameters::show)
            .needs(Needs::Login)
            .about("parameters", "Shows a parameter, or waits until it has a value")
            .query::<parameters::WaitQuery>()
            .json::<Parameter>(200, "The parameter; without `wait` it may have no value")
            .fails(&[RunNotFound, RunAmbiguous, ParameterNotFound, WaitTimeout, Aborted, RunEnded, InvalidRequest]),
        Route::put(PATH, "set_parameter", parameters::set)
            .needs(Needs::Login)
            .about("parameters", "Sets a parameter; with `if_revision`, only if nobody has written it meanwhile")
            .header("Idempotency-Key", "The same key again in this run, with the same value, changes nothing")
            .takes::<SetParameter>()
            .json::<Parameter>(200, "It is set, durably")
            .fails(&[
                RunNotFound,
                RunAmbiguous,
                ParameterNotFound,
                InvalidValue,
                RevisionMismatch,
                KeyReused,
                Aborted,
                RunEnded,
                InvalidRequest,
                MediaType,
                TooLarge,
            ]),
        Route::get("/api/v1/runs/{run}/parameters/{key}/history", "show_parameter_history", parameters::history)
            .needs(Needs::Login)
            .about("parameters", "Lists the last values a parameter had, at most 100")
            .json::<Page<ParameterWrite>>(200, "Its writes, newest first")
            .fails(&[RunNotFound, RunAmbiguous, ParameterNotFound, InvalidRequest]),
        Route::delete(PATH, "unset_parameter", parameters::unset)
            .needs(Needs::Login)
            .about("parameters", "Takes the value of a parameter away")
            .header("Idempotency-Key", "The same key again in this run changes nothing")
            .json::<Parameter>(200, "It has its default, or no value")
            .fails(&[RunNotFound, RunAmbiguous, ParameterNotFound, KeyReused, Aborted, RunEnded, InvalidRequest]),
        Route::post("/api/v1/runs/{run}/wait", "wait_for_conditions", parameters::wait)
            .needs(Needs::Login)
            .about("parameters", "Waits until conditions hold, all at the same time")
            .takes::<WaitRequest>()
            .json::<WaitAnswer>(200, "They held at one moment")
            .fails(&[
                RunNotFound,
                RunAmbiguous,
                ParameterNotFound,
                InvalidValue,
                WaitTimeout,
                Aborted,
                RunEnded,
                InvalidRequest,
                MediaType,
                TooLarge,
            ]),
    ]
}

fn of_meetings() -> Vec<Route> {
    vec![
        Route::get("/api/v1/runs/{run}/barriers", "list_barriers", meetings::barriers)
            .needs(Needs::Login)
            .about("meetings", "Lists the barriers of a run with who has arrived")
            .json::<Page<BarrierInfo>>(200, "All of them, by name")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::post("/api/v1/runs/{run}/barriers/{name}", "wait_at_barrier", meetings::meet)
            .needs(Needs::Login)
            .about("meetings", "Waits until a barrier opens; with `count`, arrives there first")
            .takes::<BarrierRequest>()
            .json::<BarrierInfo>(200, "It is open")
            .fails(&[
                RunNotFound,
                RunAmbiguous,
                InvalidValue,
                WaitTimeout,
                Aborted,
                RunEnded,
                InvalidRequest,
                MediaType,
                TooLarge,
            ]),
        Route::get("/api/v1/runs/{run}/leads", "list_leads", meetings::leads)
            .needs(Needs::Login)
            .about("meetings", "Lists who leads, and since when")
            .json::<Page<LeadInfo>>(200, "All of them, by name")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::post("/api/v1/runs/{run}/leads/{name}", "lead", meetings::lead)
            .needs(Needs::Login)
            .about("meetings", "Waits until a program leads, or keeps its lead, for some seconds")
            .takes::<LeadRequest>()
            .json::<LeadInfo>(200, "It leads; the number is larger than that of any leader before")
            .fails(&[
                RunNotFound,
                RunAmbiguous,
                RunEnded,
                Aborted,
                InvalidValue,
                WaitTimeout,
                InvalidRequest,
                MediaType,
                TooLarge,
            ]),
        Route::delete("/api/v1/runs/{run}/leads/{name}", "end_lead", meetings::end_lead)
            .needs(Needs::Login)
            .about("meetings", "Takes a lead away from its leader; who has waited longest gets it")
            .empty(204, "That one does not lead any more")
            .fails(&[RunNotFound, RunAmbiguous, InvalidValue, InvalidRequest]),
    ]
}

fn of_output() -> Vec<Route> {
    vec![
        Route::get("/api/v1/runs/{run}/logs/{instance}", "list_logs", logs::list)
            .needs(Needs::Login)
            .about("output", "Lists the steps of an instance with how much each has printed")
            .query::<logs::ListQuery>()
            .json::<Vec<LogInfo>>(200, "Its steps in order")
            .fails(&[RunNotFound, RunAmbiguous, InstanceNotFound, LogNotFound, InvalidRequest]),
        Route::get("/api/v1/runs/{run}/logs/{instance}/{index}", "show_log", logs::show)
            .needs(Needs::Login)
            .about("output", "What a step has printed, standard output and errors as they came")
            .query::<logs::LogQuery>()
            .media(200, "text/plain", "The output from `offset`")
            .fails(&[RunNotFound, RunAmbiguous, InstanceNotFound, LogNotFound, InvalidRequest]),
        Route::get("/api/v1/runs/{run}/reports", "list_reports", reports::list)
            .needs(Needs::Login)
            .about("output", "Lists the reports of a run")
            .json::<Page<ReportInfo>>(200, "All of them")
            .fails(&[RunNotFound, RunAmbiguous]),
        Route::get("/api/v1/runs/{run}/reports/{instance}", "show_report", reports::show)
            .needs(Needs::Login)
            .about("output", "The report of an instance")
            .media(200, "application/gzip", "A gzipped tar file")
            .fails(&[RunNotFound, RunAmbiguous, ReportNotFound, InvalidRequest]),
        Route::get("/api/v1/runs/{run}/console/{instance}", "show_console", logs::console)
            .needs(Needs::Login)
            .about("output", "The end of what a machine has written to its console, where its cloud has that")
            .media(200, "text/plain", "The end of the console")
            .fails(&[RunNotFound, RunAmbiguous, InstanceNotFound, LogNotFound, InvalidRequest]),
    ]
}

#[cfg(test)]
mod tests;
