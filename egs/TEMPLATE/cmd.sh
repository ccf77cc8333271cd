#!/usr/bin/env bash
# Where the jobs of a recipe run. A site changes only this file: copy it next to a recipe's run.sh, or name
# another one with --cmd. Sourced by speech_llama.sh; utils/launch.sh reads the variables. Options are separated by spaces.
#
# The recipe itself runs where it is started (a login node, in tmux or screen) and waits. Data work, compression and decoding
# are arrays of jobs, each with its log; a training is one job on --num_nodes nodes with --ngpu GPUs each.

# local: processes of this machine. slurm: sbatch. site: site_command below.
export launcher=${launcher:-local}

# How often a failed job is tried again; other jobs of its array are not. A job that someone cancelled is not tried again.
# A training that Slurm takes away (preemption, time limit, dead node) resumes without counting here, if it has saved something.
export retries=0
if [[ $launcher != local ]]; then retries=1; fi

# Options of sbatch, such as --account=speech --mail-type=FAIL: of every job, and of each kind.
export slurm_options=""
export slurm_cpu="--cpus-per-task=1"   # data work, scores; for example --partition=cpu --mem=8G --time=12:00:00
export slurm_gpu="--cpus-per-task=4"   # compression, decoding with --ngpu; one GPU each, asked for as --gpus-per-node=1
export slurm_train="--cpus-per-task=4" # trainings; nodes and GPUs are asked for as --nodes and --gpus-per-node
# An option given here overrides ours of the same name; to ask for GPUs in another way: --gpus-per-node=0 --gres=gpu:a100:1.

# Seconds before its time limit at which Slurm tells a training to save; it then goes back into the queue and resumes at
# the same update. Time enough for one update and for writing the checkpoint.
export stop_seconds=120

# Seconds between two questions to Slurm.
export poll=10

# launcher=site: a command that runs its arguments on another machine and ends when they have, such as
#   site_command="ssh node7", "srun --partition=cpu", "qsub -sync y -b y -cwd -V", "bsub -K"
# or a script of the site's, which finds $JOB_KIND (cpu, gpu, train), $JOB_GPUS and $JOB_NODES. The machine must see this
# directory at the same path. The job itself goes into the directory and takes over the environment, and looks for a file
# that tells it to stop, so the command needs to carry neither. Where the path has spaces, only ssh is given it in quotes.
export site_command=""
